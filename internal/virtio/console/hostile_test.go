package console_test

import (
	"io"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestStopUnderEndlessBuffers: receive buffers without room, on a ring that feeds
// itself as each answer makes the next one available, keep Write busy for ever.
// They must not keep it from being stopped.
func TestStopUnderEndlessBuffers(t *testing.T) {
	const receive = 0
	mem, err := guestmem.Map([]guestmem.Region{{Size: 64 << 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	r := virtiotest.NewRing(t, mem, 0x1000, 64)
	r.UsedAddr = r.AvailAddr
	r.SetDesc(0, 0x8000, 0, virtiotest.DescWrite, 0)
	r.SetAvailIdx(1)
	q, err := queue.New(mem, r.Config(false), r)
	if err != nil {
		t.Fatal(err)
	}
	c := console.New(io.Discard, 0, 0)
	c.StartQueue(receive, q)
	written := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("x"))
		written <- err
	}()
	time.Sleep(20 * time.Millisecond)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.StopQueue(receive)
		c.Reset()
	}()
	select {
	case <-stopped:
	case <-time.After(virtiotest.WaitTimeout):
		t.Fatal("StopQueue does not return")
	}
	c.Close()
	if err := <-written; err != io.ErrClosedPipe {
		t.Errorf("Write: %v", err)
	}
}

// TestBoundsARequest: a request that names the same memory again and again is
// printed up to a limit.
func TestBoundsARequest(t *testing.T) {
	const most = 64 << 10
	var out buffer
	d := virtiotest.Start(t, console.New(&out, 0, 0), virtiotest.Options{})
	q := d.Queue(1)
	for _, n := range []int{20 << 10, most} {
		b := virtiotest.Buf{Addr: 1 << 20, Len: n}
		q.Offer(q.Chain(b, b, b, b))
		q.Kick()
		q.WaitUsed()
		if got := out.b.Len(); got != most {
			t.Errorf("four times %d bytes: %d were printed, want %d", n, got, most)
		}
		out.b.Reset()
	}
	if q.Do([]byte("and on"), 0); out.b.String() != "and on" {
		t.Errorf("after it: %q", out.b.String())
	}
}
