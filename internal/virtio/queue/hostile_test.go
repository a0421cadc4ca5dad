package queue_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

const (
	next     = virtiotest.DescNext
	writable = virtiotest.DescWrite
	indirect = virtiotest.DescIndirect
)

// TestBreaches pops what no honest driver offers. Every one kills the queue,
// with the reason, and nothing is read or written meanwhile.
func TestBreaches(t *testing.T) {
	const table = dataBase // of indirect descriptors
	// entries makes an indirect table and offers it.
	entries := func(r *virtiotest.Ring, at uint64, descs ...[4]uint64) {
		for i, d := range descs {
			virtiotest.PutDesc(r.Bytes(at+16*uint64(i), 16), d[0], uint32(d[1]), uint16(d[2]), uint16(d[3]))
		}
		r.SetDesc(0, at, uint32(16*len(descs)), indirect, 0)
		r.Offer(0)
	}
	one := func(addr uint64, length uint32, flags, to uint16) func(*virtiotest.Ring) {
		return func(r *virtiotest.Ring) {
			r.SetDesc(0, addr, length, flags, to)
			r.Offer(0)
		}
	}
	for _, c := range []struct {
		name  string
		build func(r *virtiotest.Ring)
		want  string // part of the reason
	}{
		{"loop of one", one(dataBase, 1, next, 0), "a loop"},
		{"loop of one without bytes", one(dataBase, 0, next, 0), "a loop"},
		{"loop of two", func(r *virtiotest.Ring) {
			r.SetDesc(0, dataBase, 1, next, 1)
			r.SetDesc(1, dataBase, 1, next, 0)
			r.Offer(0)
		}, "a loop"},
		{"loop behind a good start", func(r *virtiotest.Ring) {
			for i := range uint16(8) {
				r.SetDesc(i, dataBase, 1, next|writable, max(5, (i+1)%8))
			}
			r.Offer(0)
		}, "a loop"},
		{"loop in an indirect table", func(r *virtiotest.Ring) {
			entries(r, table, [4]uint64{dataBase, 1, next, 1}, [4]uint64{dataBase, 1, next, 0})
		}, "a loop"},
		{"indirect table that names itself", func(r *virtiotest.Ring) {
			entries(r, table, [4]uint64{table, 16, indirect, 0})
		}, "indirect descriptor in an indirect table"},
		{"indirect in indirect", func(r *virtiotest.Ring) {
			virtiotest.PutDesc(r.Bytes(far, 16), dataBase, 1, 0, 0)
			entries(r, table, [4]uint64{dataBase, 1, next, 1}, [4]uint64{far, 16, indirect, 0})
		}, "indirect descriptor in an indirect table"},
		{"indirect with a next one", one(table, 16, indirect|next, 1), "with a next one"},
		{"indirect table of nothing", one(table, 0, indirect, 0), "table of 0 bytes"},
		{"indirect table of half an entry", one(table, 24, indirect, 0), "table of 24 bytes"},
		{"indirect table too long", one(table, 16*1025, indirect, 0), "table of 16400 bytes"},
		{"indirect table of 4 GiB", one(table, 0xfffffff0, indirect, 0), "table of 4294967280 bytes"},
		{"indirect table in the gap", one(gap, 16, indirect, 0), "outside guest memory"},
		{"indirect table into the gap", one(gap-16, 32, indirect, 0), "outside guest memory"},
		{"indirect table wraps", one(^uint64(15), 32, indirect, 0), "outside guest memory"},
		{"head outside the table", func(r *virtiotest.Ring) { r.Offer(8) }, "descriptor 8 in a table of 8"},
		{"head far outside", func(r *virtiotest.Ring) { r.Offer(65535) }, "descriptor 65535 in a table of 8"},
		{"next outside the table", one(dataBase, 1, next, 8), "descriptor 8 in a table of 8"},
		{"next outside an indirect table", func(r *virtiotest.Ring) {
			entries(r, table, [4]uint64{dataBase, 1, next, 1}) // an entry of the ring's own table
		}, "descriptor 1 in a table of 1"},
		{"buffer in the gap", one(gap, 1, 0, 0), "outside guest memory"},
		{"room in the gap", one(gap, 1, writable, 0), "outside guest memory"},
		{"buffer runs into the gap", one(gap-10, 11, 0, 0), "outside guest memory"},
		{"buffer as long as can be", one(dataBase, 0xffffffff, writable, 0), "outside guest memory"},
		{"buffer behind all memory", one(far+regionSize, 1, 0, 0), "outside guest memory"},
		{"buffer at the last address", one(^uint64(0), 1, 0, 0), "outside guest memory"},
		{"buffer wraps around", one(^uint64(0)-3, 0x2000, writable, 0), "outside guest memory"},
		{"room before a buffer", func(r *virtiotest.Ring) {
			r.SetDesc(0, dataBase, 1, next|writable, 1)
			r.SetDesc(1, dataBase, 1, 0, 0)
			r.Offer(0)
		}, "readable buffer after a writable one"},
		{"avail.idx jumps", func(r *virtiotest.Ring) { r.SetAvailIdx(9) }, "jumped by 9"},
		{"avail.idx jumps far", func(r *virtiotest.Ring) { r.SetAvailIdx(32768) }, "jumped by 32768"},
		{"avail.idx goes back", func(r *virtiotest.Ring) { r.SetAvailIdx(65535) }, "jumped by 65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := newMemory(t)
			r, q := start(t, mem, 8, true)
			c.build(r)
			if err := broken(t, mem, r, q); !strings.Contains(err.Error(), c.want) {
				t.Errorf("the reason is %v, want %q", err, c.want)
			}
		})
	}
}

func TestIndirectWithoutTheFeature(t *testing.T) {
	mem := newMemory(t)
	r := virtiotest.NewRing(t, mem, ringBase, 8)
	cfg := r.Config(true)
	cfg.Indirect = false
	q, err := queue.New(mem, cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	r.SetDesc(0, dataBase, 16, indirect, 0)
	r.Offer(0)
	if err := broken(t, mem, r, q); !strings.Contains(err.Error(), "without the feature") {
		t.Error(err)
	}
}

// TestChainOfMoreThan4GiB names the same three gigabytes twice: what is written
// into a used entry's length must fit there.
func TestChainOfMoreThan4GiB(t *testing.T) {
	const size = 3 << 30
	mem, err := guestmem.Map([]guestmem.Region{{Size: size}}) // no page of it is touched but the ring's
	if err != nil {
		t.Skipf("no room for %d bytes: %v", size, err)
	}
	defer mem.Close()
	r, q := start(t, mem, 8, true)
	r.SetDesc(0, 0, size, next|writable, 1)
	r.SetDesc(1, 0, size, writable, 0)
	r.Offer(1)
	pop(t, q)
	r.Offer(0)
	var c queue.Chain
	if ok, err := q.Pop(&c); ok || !errors.Is(err, queue.ErrBroken) || !strings.Contains(err.Error(), "more than 4 GiB") {
		t.Errorf("Pop = %v, %v", ok, err)
	}
}

// TestFullRing: as many chains as the ring has entries are not yet a jump.
func TestFullRing(t *testing.T) {
	r, q := start(t, newMemory(t), 8, true)
	r.SetDesc(0, dataBase, 1, 0, 0)
	for range 8 {
		r.Offer(0)
	}
	for range 8 {
		pop(t, q)
	}
	if q.EnableKicks() {
		t.Error("a ninth chain")
	}
}

// TestRingChangesUnderTheDevice rewrites everything that the device reads while
// it reads. Whatever it makes of that, each buffer it gets is inside memory and
// every walk ends.
func TestRingChangesUnderTheDevice(t *testing.T) {
	mem := newMemory(t)
	r, q := start(t, mem, 8, true)
	bounds := map[*byte]bool{}
	stop := make(chan struct{})
	var driver sync.WaitGroup
	driver.Go(func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		addrs := []uint64{dataBase, second - 4, gap - 4, gap, far, far + regionSize - 1, ^uint64(0), ringBase}
		lens := []uint32{0, 1, 8, 16, 32, 1 << 16, 0xffffffff}
		flags := []uint16{0, next, writable, next | writable, indirect, indirect | next}
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range 64 {
				at := ringBase + 16*rnd.Uint64N(8)
				if rnd.Uint32()&1 == 0 {
					at = dataBase + 16*rnd.Uint64N(4) // an indirect table, at times
				}
				virtiotest.PutDesc(r.Bytes(at, 16), addrs[rnd.IntN(len(addrs))], lens[rnd.IntN(len(lens))],
					flags[rnd.IntN(len(flags))], uint16(rnd.IntN(9)))
			}
		}
	})
	inside := func(b []byte) bool {
		if len(b) == 0 || cap(b) != len(b) {
			return false
		}
		bounds[&b[0]] = true
		return true
	}
	chains, breaches := 0, 0
	for chains+breaches < 20000 {
		var c queue.Chain
		r.Offer(uint16(chains+breaches) % 8)
		ok, err := q.Pop(&c)
		if err != nil {
			breaches++
			r.WaitBroken()
			r.SetAvailIdx(0)
			if q, err = queue.New(mem, r.Config(true), r); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !ok {
			t.Fatal("an offered chain is not found")
		}
		chains++
		for _, b := range c.Readable {
			if !inside(b) {
				t.Fatalf("a buffer of %d bytes with room for %d", len(b), cap(b))
			}
			_ = b[len(b)-1]
		}
		for _, b := range c.Writable {
			if !inside(b) {
				t.Fatalf("room of %d bytes with room for %d", len(b), cap(b))
			}
		}
		if len(c.Readable)+len(c.Writable) > 2*1024 {
			t.Fatalf("a chain of %d and %d buffers", len(c.Readable), len(c.Writable))
		}
		q.Push(&c, 0)
	}
	close(stop)
	driver.Wait()
	if chains < 100 || breaches < 100 {
		t.Errorf("%d chains, %d breaches: the driver tried too little", chains, breaches)
	}
	for first := range bounds {
		if !holds(mem, first) {
			t.Errorf("a buffer at %p, which is not guest memory", first)
		}
	}
}

// holds reports whether a byte is one of guest memory.
func holds(mem *guestmem.Memory, p *byte) bool {
	for _, addr := range []uint64{0, second, far} {
		all, _ := mem.Slice(addr, regionSize)
		for i := range all {
			if &all[i] == p {
				return true
			}
		}
	}
	return false
}
