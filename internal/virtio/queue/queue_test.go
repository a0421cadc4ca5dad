package queue_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// The guest memory of these tests: two regions side by side, a gap, and one more.
const (
	regionSize = 64 << 10
	second     = regionSize     // guest address of the second region
	gap        = 2 * regionSize // first address behind it
	far        = 1 << 32        // guest address of the third region
	ringBase   = 0x1000
	dataBase   = 0x8000 // free for buffers, up to the second region
)

// newMemory maps the regions, for the length of the test.
func newMemory(t testing.TB) *guestmem.Memory {
	t.Helper()
	mem, err := guestmem.Map([]guestmem.Region{
		{Size: regionSize}, {GuestAddr: second, Size: regionSize}, {GuestAddr: far, Size: regionSize},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return mem
}

// start lays out a ring and starts a queue on it.
func start(t testing.TB, mem *guestmem.Memory, size uint16, eventIdx bool) (*virtiotest.Ring, *queue.Queue) {
	t.Helper()
	r := virtiotest.NewRing(t, mem, ringBase, size)
	q, err := queue.New(mem, r.Config(eventIdx), r)
	if err != nil {
		t.Fatal(err)
	}
	return r, q
}

// pop insists on a chain.
func pop(t testing.TB, q *queue.Queue) *queue.Chain {
	t.Helper()
	var c queue.Chain
	if ok, err := q.Pop(&c); !ok || err != nil {
		t.Fatalf("Pop = %v, %v", ok, err)
	}
	return &c
}

func TestNewRefuses(t *testing.T) {
	mem := newMemory(t)
	good := virtiotest.NewRing(t, mem, ringBase, 8).Config(true)
	if _, err := queue.New(mem, good, deaf{}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*queue.Config){
		"no entries":                 func(c *queue.Config) { c.Size = 0 },
		"size no power of two":       func(c *queue.Config) { c.Size = 6 },
		"size above the limit":       func(c *queue.Config) { c.Size = 65535 },
		"descriptors not aligned":    func(c *queue.Config) { c.Desc += 8 },
		"available ring not aligned": func(c *queue.Config) { c.Avail++ },
		"used ring not aligned":      func(c *queue.Config) { c.Used += 2 },
		"descriptors in the gap":     func(c *queue.Config) { c.Desc = gap },
		"available ring in the gap":  func(c *queue.Config) { c.Avail = gap },
		"used ring in the gap":       func(c *queue.Config) { c.Used = gap },
		"descriptors run out":        func(c *queue.Config) { c.Desc = gap - 16*8 + 16 },
		"available ring runs out":    func(c *queue.Config) { c.Avail = gap - 20 }, // its event field is outside
		"used ring runs out":         func(c *queue.Config) { c.Used = gap - 68 },
		"descriptors wrap":           func(c *queue.Config) { c.Desc = ^uint64(15) },
		"used ring wraps":            func(c *queue.Config) { c.Used = ^uint64(3) },
		"two regions":                func(c *queue.Config) { c.Desc = second - 16 },
	} {
		cfg := good
		change(&cfg)
		if _, err := queue.New(mem, cfg, deaf{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestChainShapes pops chains that drivers may make.
func TestChainShapes(t *testing.T) {
	const in, out = "what the driver wrote", "the answer"
	for name, build := range map[string]func(r *virtiotest.Ring) uint16{
		"direct": func(r *virtiotest.Ring) uint16 {
			r.SetDesc(5, dataBase, 10, virtiotest.DescNext, 2)
			r.SetDesc(2, dataBase+10, 11, virtiotest.DescNext, 7)
			r.SetDesc(7, dataBase+100, 10, virtiotest.DescWrite, 5)
			return 5
		},
		"as long as the ring": func(r *virtiotest.Ring) uint16 {
			for i := range uint16(6) { // 0 bytes say nothing
				r.SetDesc(i, dataBase, 0, virtiotest.DescNext, i+1)
			}
			r.SetDesc(6, dataBase, 21, virtiotest.DescNext, 7)
			r.SetDesc(7, dataBase+100, 10, virtiotest.DescWrite, 0)
			return 0
		},
		"indirect": func(r *virtiotest.Ring) uint16 {
			virtiotest.PutDesc(r.Bytes(far, 16), dataBase, 21, virtiotest.DescNext, 1)
			virtiotest.PutDesc(r.Bytes(far+16, 16), dataBase+100, 10, virtiotest.DescWrite, 0)
			r.SetDesc(6, far, 32, virtiotest.DescIndirect, 0)
			return 6
		},
		"direct, then indirect": func(r *virtiotest.Ring) uint16 {
			virtiotest.PutDesc(r.Bytes(far, 16), dataBase+10, 11, virtiotest.DescNext, 1)
			virtiotest.PutDesc(r.Bytes(far+16, 16), dataBase+100, 10, virtiotest.DescWrite, 0)
			r.SetDesc(0, dataBase, 10, virtiotest.DescNext, 1)
			r.SetDesc(1, far, 32, virtiotest.DescIndirect, 0)
			return 0
		},
		"largest indirect": func(r *virtiotest.Ring) uint16 {
			for i := range uint16(1024) {
				virtiotest.PutDesc(r.Bytes(far+16*uint64(i), 16), dataBase, 0, virtiotest.DescNext, i+1)
			}
			virtiotest.PutDesc(r.Bytes(far+16*1022, 16), dataBase, 21, virtiotest.DescNext, 1023)
			virtiotest.PutDesc(r.Bytes(far+16*1023, 16), dataBase+100, 10, virtiotest.DescWrite, 0)
			r.SetDesc(3, far, 16*1024, virtiotest.DescIndirect, 0)
			return 3
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, q := start(t, newMemory(t), 8, true)
			copy(r.Bytes(dataBase, len(in)), in)
			head := build(r)
			r.Offer(head)
			c := pop(t, q)
			got := make([]byte, 100)
			if n := c.Read(got, 0); string(got[:n]) != in || c.ReadableLen() != len(in) || c.WritableLen() != len(out) {
				t.Errorf("read %q, %d bytes readable, %d writable", got[:n], c.ReadableLen(), c.WritableLen())
			}
			if n := c.Write([]byte(out+" and more"), 0); n != len(out) {
				t.Errorf("wrote %d bytes", n)
			}
			q.Push(c, len(out))
			if e, ok := r.Used(); !ok || e != (virtiotest.UsedElem{ID: uint32(head), Len: uint32(len(out))}) {
				t.Errorf("used %+v, %v", e, ok)
			}
			if got := r.Bytes(dataBase+100, 11); string(got) != out+"\x00" {
				t.Errorf("the driver finds %q", got)
			}
			if ok, err := q.Pop(c); ok || err != nil {
				t.Errorf("a second chain: %v, %v", ok, err)
			}
		})
	}
}

// TestBufferInTwoRegions reads and writes buffers that cross a region's end, at
// every offset.
func TestBufferInTwoRegions(t *testing.T) {
	r, q := start(t, newMemory(t), 8, true)
	in, out := r.Bytes(second-8, 8), r.Bytes(second, 8)
	copy(in, "01234567")
	copy(out, "89abcdef")
	r.SetDesc(0, second-8, 16, virtiotest.DescNext, 1)
	r.SetDesc(1, second-8, 16, virtiotest.DescWrite, 0)
	r.Offer(0)
	c := pop(t, q)
	for off := range 20 {
		got := make([]byte, 20)
		want := "0123456789abcdef"[min(off, 16):]
		if n := c.Read(got, off); string(got[:n]) != want {
			t.Errorf("from %d on: %q", off, got[:n])
		}
	}
	if n := c.Write([]byte("WXYZ"), 6); n != 4 || string(in) != "012345WX" || string(out) != "YZabcdef" {
		t.Errorf("wrote %d: %q %q", n, in, out)
	}
}

// TestIndexesWrap runs a small ring far beyond 2^16 chains, and lets another
// queue go on where it stopped.
func TestIndexesWrap(t *testing.T) {
	mem := newMemory(t)
	r, q := start(t, mem, 4, true)
	r.SetDesc(0, dataBase, 2, 0, 0)
	for i := range 70000 {
		if i == 65534 || i == 69000 {
			cfg := r.Config(true)
			cfg.NextAvail = q.NextAvail()
			var err error
			if q, err = queue.New(mem, cfg, r); err != nil {
				t.Fatal(err)
			}
		}
		binary.LittleEndian.PutUint16(r.Bytes(dataBase, 2), uint16(i))
		r.Offer(0)
		c := pop(t, q)
		var got [2]byte
		if c.Read(got[:], 0); binary.LittleEndian.Uint16(got[:]) != uint16(i) {
			t.Fatalf("chain %d holds %x", i, got)
		}
		q.Push(c, 0)
		if e, ok := r.Used(); !ok || e.ID != 0 {
			t.Fatalf("chain %d: used %+v, %v", i, e, ok)
		}
	}
	if q.NextAvail() != 70000-65536 {
		t.Errorf("stopped at %d", q.NextAvail())
	}
}

// TestSignalOnlyWhenWanted holds Signal to both ways of suppressing interrupts.
func TestSignalOnlyWhenWanted(t *testing.T) {
	answer := func(q *queue.Queue, r *virtiotest.Ring, n int) {
		for range n {
			r.Offer(0)
			q.Push(pop(t, q), 0)
		}
		q.Signal()
	}
	for _, c := range []struct {
		event uint16 // used_event; the used index goes from 2 to 5
		want  bool
	}{{0, false}, {1, false}, {2, true}, {3, true}, {4, true}, {5, false}, {65535, false}} {
		r, q := start(t, newMemory(t), 8, true)
		r.SetDesc(0, dataBase, 1, 0, 0)
		answer(q, r, 2)
		r.Interrupted()
		r.SetUsedEvent(c.event)
		if answer(q, r, 3); r.Interrupted() != c.want {
			t.Errorf("used_event %d: interrupted %v", c.event, !c.want)
		}
		if q.Signal(); r.Interrupted() {
			t.Error("an interrupt for nothing")
		}
	}
	r, q := start(t, newMemory(t), 8, false)
	r.SetDesc(0, dataBase, 1, 0, 0)
	for _, no := range []byte{0, 1} { // VIRTQ_AVAIL_F_NO_INTERRUPT
		r.Bytes(r.AvailAddr, 1)[0] = no
		if answer(q, r, 1); r.Interrupted() != (no == 0) {
			t.Errorf("avail.flags %d: interrupted %v", no, no != 0)
		}
	}
}

// TestKicksOnlyWhenWanted holds EnableKicks and DisableKicks to what the driver
// sees of them.
func TestKicksOnlyWhenWanted(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		r, q := start(t, newMemory(t), 8, eventIdx)
		r.SetDesc(0, dataBase, 1, 0, 0)
		wants := func() bool { // would a driver that adds the next chain notify?
			if eventIdx {
				return binary.LittleEndian.Uint16(r.Bytes(r.UsedAddr+4+8*8, 2)) == q.NextAvail()
			}
			return r.Bytes(r.UsedAddr, 1)[0] == 0
		}
		r.Offer(0)
		q.DisableKicks()
		pop(t, q)
		if wants() {
			t.Errorf("event index %v: wants kicks while it looks", eventIdx)
		}
		if more := q.EnableKicks(); more || !wants() {
			t.Errorf("event index %v: more %v, wants kicks %v", eventIdx, more, wants())
		}
		if r.Offer(0); !q.EnableKicks() {
			t.Errorf("event index %v: a chain that came in between is overlooked", eventIdx)
		}
	}
}

// TestQuiesce: while it waits nothing is found, and nothing is lost.
func TestQuiesce(t *testing.T) {
	r, q := start(t, newMemory(t), 8, true)
	r.SetDesc(0, dataBase, 1, 0, 0)
	r.Offer(0)
	called := false
	q.Quiesce(func() {
		called = true
		var c queue.Chain
		if ok, err := q.Pop(&c); ok || err != nil || q.EnableKicks() || q.NextAvail() != 0 {
			t.Errorf("Pop = %v, %v; at %d", ok, err, q.NextAvail())
		}
	})
	if !called || !q.EnableKicks() {
		t.Fatal("the chain is lost")
	}
	pop(t, q)
}

// counter counts what an Interrupter is told.
type counter struct{ interrupts, breaches int }

func (c *counter) Interrupt()   { c.interrupts++ }
func (c *counter) Broken(error) { c.breaches++ }

func TestFailIsToldOnce(t *testing.T) {
	mem := newMemory(t)
	r := virtiotest.NewRing(t, mem, ringBase, 8)
	var told counter
	q, err := queue.New(mem, r.Config(true), &told)
	if err != nil {
		t.Fatal(err)
	}
	first := errors.New("first")
	q.Fail(first)
	q.Fail(errors.New("second"))
	if !errors.Is(q.Err(), first) || !errors.Is(q.Err(), queue.ErrBroken) || told != (counter{breaches: 1}) {
		t.Errorf("%v, %+v", q.Err(), told)
	}
}

// broken checks that a queue is dead: it says why, once, and touches nothing.
func broken(t *testing.T, mem *guestmem.Memory, r *virtiotest.Ring, q *queue.Queue) error {
	t.Helper()
	var before [3][]byte
	for i, addr := range []uint64{0, second, far} {
		b, _ := mem.Slice(addr, regionSize)
		before[i] = bytes.Clone(b)
	}
	var c queue.Chain
	ok, err := q.Pop(&c)
	if ok || !errors.Is(err, queue.ErrBroken) {
		t.Fatalf("Pop = %v, %v", ok, err)
	}
	if told := r.WaitBroken(); !errors.Is(told, queue.ErrBroken) || told.Error() != err.Error() {
		t.Errorf("the transport was told %v", told)
	}
	r.SetAvailIdx(0) // as if nothing had happened
	if ok, again := q.Pop(&c); ok || !errors.Is(again, queue.ErrBroken) || q.EnableKicks() {
		t.Errorf("afterwards: %v, %v", ok, again)
	}
	q.Push(&c, 1)
	q.Signal()
	if r.Interrupted() {
		t.Error("an interrupt from a dead queue")
	}
	clear(before[0][r.AvailAddr+2 : r.AvailAddr+4]) // that was us
	event := r.UsedAddr + 4 + 8*uint64(r.Size)
	copy(before[0][event:], r.Bytes(event, 2)) // EnableKicks may
	for i, addr := range []uint64{0, second, far} {
		if b, _ := mem.Slice(addr, regionSize); !bytes.Equal(b, before[i]) {
			t.Errorf("guest memory at %#x changed", addr)
		}
	}
	return err
}
