package balloon_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/holtvm/holt/internal/virtio/balloon"
	"github.com/holtvm/holt/internal/virtiotest"
)

const (
	inflateq, deflateq, reporting = 0, 1, 2

	page      = 4096
	hugeBlock = 2 << 20
)

func newDevice() *balloon.Device { return balloon.New(slog.New(slog.DiscardHandler)) }

// start starts a balloon on a guest whose memory from from on is full of 0xaa.
func start(t *testing.T, from uint64) *virtiotest.Driver {
	t.Helper()
	d := virtiotest.Start(t, newDevice(), virtiotest.Options{Features: ^uint64(0)})
	b, err := d.Mem.Slice(from, d.Mem.Size()-from)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 0xaa
	}
	return d
}

// zero reports whether the n bytes at addr are zero; it fails the test if only
// some are.
func zero(t *testing.T, d *virtiotest.Driver, addr, n uint64) bool {
	t.Helper()
	b, err := d.Mem.Slice(addr, n)
	if err != nil {
		t.Fatal(err)
	}
	got := bytes.Equal(b, make([]byte, n))
	if !got && !bytes.Equal(b, bytes.Repeat([]byte{0xaa}, int(n))) {
		t.Errorf("%d bytes at %#x are partly gone", n, addr)
	}
	return got
}

func TestReportedPagesGo(t *testing.T) {
	d := start(t, hugeBlock)
	q := d.Queue(reporting)
	for range 200 { // more than the queue's size
		q.Offer(q.Chain(
			virtiotest.Buf{Addr: 4 * hugeBlock, Len: hugeBlock, Write: true},
			virtiotest.Buf{Addr: hugeBlock + 8*page, Len: 4 * page, Write: true},
			virtiotest.Buf{Addr: hugeBlock + 16*page + 1, Len: 2*page - 1, Write: true}, // not on a page's border
		))
		q.Kick()
		if e := q.WaitUsed(); e.Len != 0 {
			t.Fatalf("wrote %d bytes into free pages", e.Len)
		}
	}
	for _, c := range []struct {
		addr, n uint64
		gone    bool
	}{
		{4*hugeBlock - page, page, false},
		{4 * hugeBlock, hugeBlock, true},
		{5 * hugeBlock, page, false},
		{hugeBlock + 7*page, page, false},
		{hugeBlock + 8*page, 4 * page, true},
		{hugeBlock + 12*page, page, false},
		{hugeBlock + 16*page, page, false},
		{hugeBlock + 17*page, page, true},
		{hugeBlock + 18*page, page, false},
	} {
		if got := zero(t, d, c.addr, c.n); got != c.gone {
			t.Errorf("%d bytes at %#x: gone is %v, want %v", c.n, c.addr, got, c.gone)
		}
	}
}

func numbers(pages ...uint32) []byte {
	var b []byte
	for _, n := range pages {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

func TestInflate(t *testing.T) {
	d := start(t, hugeBlock)
	const first = hugeBlock / page
	// The last byte is no number; the two before are not guest memory.
	request := append(numbers(first+3, first+5, 1<<20, ^uint32(0)), 1)
	d.Queue(inflateq).Do(request, 0)
	d.Queue(deflateq).Do(numbers(first+7), 0)
	for i := range uint64(10) {
		if got, want := zero(t, d, hugeBlock+i*page, page), i == 3 || i == 5; got != want {
			t.Errorf("page %d: gone is %v, want %v", i, got, want)
		}
	}
}

// TestBoundsARequest: what one request can make the host do has an end.
func TestBoundsARequest(t *testing.T) {
	d := start(t, hugeBlock)
	const most = 1024
	var all []uint32
	for i := range uint32(most + 1) {
		all = append(all, hugeBlock/page+i)
	}
	d.Queue(inflateq).Do(numbers(all...), 0)
	if zero(t, d, hugeBlock+most*page, page) || !zero(t, d, hugeBlock, most*page) {
		t.Errorf("a request of %d pages was not cut to %d", len(all), most)
	}
}

func TestConfig(t *testing.T) {
	d := newDevice()
	read := func() []byte {
		p := make([]byte, 12)
		d.ReadConfig(0, p)
		return p
	}
	for _, c := range []struct {
		off  uint32
		p    []byte
		want []byte
	}{
		{0, []byte{1, 2, 3, 4}, make([]byte, 12)}, // num_pages is not the driver's
		{4, []byte{1, 2, 3, 4}, []byte{0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0}},
		{4, []byte{9}, []byte{0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0}},
		{8, []byte{5, 6, 7, 8}, []byte{0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0}},
		{^uint32(0), []byte{5, 6, 7, 8}, []byte{0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0}},
	} {
		d.WriteConfig(c.off, c.p)
		if got := read(); !bytes.Equal(got, c.want) {
			t.Errorf("after a write of % x at %d: % x", c.p, c.off, got)
		}
	}
	if d.Reset(); !bytes.Equal(read(), make([]byte, 12)) {
		t.Errorf("after a reset: % x", read())
	}
	if got := d.Features(); got != 1<<2|1<<5 {
		t.Errorf("features %#x: poison and hints are not served", got)
	}
}
