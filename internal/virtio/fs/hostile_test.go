package fs_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtiotest"
)

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(virtiotest.WaitTimeout); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestRequestsInFlightAreBounded: each may hold a thread and a megabyte of the
// host, and a guest can offer a thousand on every queue. None is lost, FORGET
// waits for none of them, and a reset waits for those that run.
func TestRequestsInFlightAreBounded(t *testing.T) {
	const limit, offered = 64, 200
	e := &echo{release: make(chan struct{})}
	dev, err := fs.New("root", 2, e)
	if err != nil {
		t.Fatal(err)
	}
	d := virtiotest.Start(t, dev, virtiotest.Options{})
	kicks := make(chan struct{})
	for i := range 2 {
		q := d.Queue(1 + i)
		for range offered {
			q.Offer(q.Chain(q.Readable(request(20, "slow")), q.Writable(64)))
		}
		go func() {
			q.Kick()
			kicks <- struct{}{}
		}()
	}
	eventually(t, "the device does not even serve as many as it may", func() bool { return e.active.Load() >= limit })
	time.Sleep(20 * time.Millisecond)
	if n := e.active.Load(); n != limit {
		t.Errorf("%d requests in flight, the limit is %d", n, limit)
	}
	forget := d.Queue(0)
	for range offered {
		forget.Offer(forget.Chain(forget.Readable(request(2, "forget"))))
	}
	forgot := make(chan struct{})
	go func() {
		defer close(forgot)
		forget.Kick()
	}()
	select {
	case <-forgot:
	case <-time.After(virtiotest.WaitTimeout):
		t.Error("FORGET waits for requests")
	}
	close(e.release)
	<-forgot
	for i := range 2 {
		<-kicks
		for n := range offered {
			if used := d.Queue(1 + i).WaitUsed(); used.Len != 12 {
				t.Fatalf("queue %d: request %d came back with %+v", 1+i, n, used)
			}
		}
	}
	if n := e.active.Load(); n != 0 {
		t.Errorf("%d requests still run", n)
	}
}

// TestBrokenQueueEndsAlone: what a guest breaks on one queue harms no other.
func TestBrokenQueueEndsAlone(t *testing.T) {
	d, _ := start(t, 2)
	for name, flags := range map[string]uint16{"request": 0, "reply": virtiotest.DescWrite} {
		q := d.Queue(2)
		q.SetDesc(0, 1<<40, 64, flags, 0)
		q.Offer(0)
		q.Kick()
		q.WaitBroken()
		want := request(1, name)
		if got := d.Queue(1).Do(want, 64); !bytes.Equal(got, want) {
			t.Errorf("%s: the other queue answered %q", name, got)
		}
		d.Stop()
		d.Restart()
		if got := d.Queue(2).Do(want, 64); !bytes.Equal(got, want) {
			t.Errorf("%s: after a reset: %q", name, got)
		}
	}
}

// TestShapelessRequests offers chains that are no FUSE requests to the real
// server: they come back with nothing written, and the next one is served.
func TestShapelessRequests(t *testing.T) {
	server, err := fsserver.New(t.TempDir(), fsserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	dev, err := fs.New("root", 1, server)
	if err != nil {
		t.Fatal(err)
	}
	d := virtiotest.Start(t, dev, virtiotest.Options{})
	for _, i := range []int{0, 1} {
		q := d.Queue(i)
		for name, bufs := range map[string][]virtiotest.Buf{
			"nothing at all":        {q.Writable(0)},
			"room without request":  {q.Writable(4096)},
			"a byte without room":   {q.Readable([]byte("x"))},
			"half a header":         {q.Readable(make([]byte, 39)), q.Writable(4096)},
			"no length":             {q.Readable(make([]byte, 40)), q.Writable(8)},
			"all memory as request": {{Addr: 0, Len: virtiotest.MemorySize}, q.Writable(8)},
		} {
			head := q.Chain(bufs...)
			q.Offer(head)
			q.Kick()
			if used := q.WaitUsed(); used.ID != uint32(head) || used.Len != 0 {
				t.Errorf("queue %d: %s: %+v", i, name, used)
			}
		}
	}
}
