package queue_test

import (
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

type deaf struct{}

func (deaf) Interrupt()   {}
func (deaf) Broken(error) {}

// FuzzPop fills guest memory, rings included, with the input and lets a device
// answer whatever it finds there. Every slice must stay inside memory, which the
// writes prove, and the walk must end.
func FuzzPop(f *testing.F) {
	loop := make([]byte, 512)
	virtiotest.PutDesc(loop, 256, 16, virtiotest.DescNext, 1)
	virtiotest.PutDesc(loop[16:], 256, 16, virtiotest.DescNext, 0)
	loop[16*8+2] = 1
	f.Add(loop, true)
	indirect := make([]byte, 512)
	virtiotest.PutDesc(indirect, 256, 64, virtiotest.DescIndirect, 0)
	virtiotest.PutDesc(indirect[256:], 0, 16, virtiotest.DescWrite|virtiotest.DescNext, 1)
	virtiotest.PutDesc(indirect[272:], 300, 60000, virtiotest.DescWrite, 0)
	indirect[16*8+2] = 3
	f.Add(indirect, false)
	f.Fuzz(func(t *testing.T, image []byte, eventIdx bool) {
		mem, err := guestmem.Map([]guestmem.Region{{Size: 8192}, {GuestAddr: 8192, Size: 4096}, {GuestAddr: 1 << 32, Size: 4096}})
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Close()
		all, _ := mem.Slice(0, 8192)
		ring := virtiotest.NewRing(t, mem, 0, 8)
		copy(all, image)
		q, err := queue.New(mem, ring.Config(eventIdx), deaf{})
		if err != nil {
			t.Fatal(err)
		}
		var c queue.Chain
		for range 100 { // the guest's own writes (ours) may keep the ring full for ever
			ok, err := q.Pop(&c)
			if err != nil {
				return
			}
			if !ok && !q.EnableKicks() {
				return
			}
			if !ok {
				continue
			}
			for _, b := range c.Readable {
				_ = b[len(b)-1]
			}
			n := 0
			for _, b := range c.Writable {
				for i := range b {
					b[i] ^= 0x5a
				}
				n += len(b)
			}
			q.Push(&c, n)
			q.Signal()
			q.DisableKicks()
		}
	})
}
