package eventfd

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// counted is a kicker that counts its calls.
type counted struct {
	*Kicker
	calls atomic.Int64
}

func newCounted(t *testing.T) *counted {
	t.Helper()
	fd, err := New()
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKicker(fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return &counted{Kicker: k}
}

func (c *counted) start() { c.Start(func() { c.calls.Add(1) }) }

// await waits until there were at least n calls.
func (c *counted) await(t *testing.T, n int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); c.calls.Load() < n; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls, want %d", c.calls.Load(), n)
		}
	}
}

func TestEverySignalIsServed(t *testing.T) {
	c := newCounted(t)
	c.start()
	c.await(t, 1) // the one at the start
	for i := range int64(200) {
		if i%50 == 49 {
			time.Sleep(2 * hotWait) // let it turn to the poller
		}
		n := c.calls.Load()
		Signal(c.FD())
		c.await(t, n+1)
	}
}

func TestNothingRunsWhileStopped(t *testing.T) {
	c := newCounted(t)
	Signal(c.FD())
	time.Sleep(time.Millisecond)
	if n := c.calls.Load(); n != 0 {
		t.Errorf("%d calls before the start", n)
	}
	for i := range 50 {
		n := c.calls.Load()
		c.start()
		if i%2 == 0 {
			c.await(t, n+1)
		}
		c.Stop()
		n = c.calls.Load()
		Signal(c.FD())
		time.Sleep(100 * time.Microsecond)
		if got := c.calls.Load(); got != n {
			t.Fatalf("%d calls while stopped", got-n)
		}
	}
	c.Stop() // is nothing
}

// A pause of a busy guest must not wait until its queues are found idle.
func TestStopEndsTheHotWait(t *testing.T) {
	c := newCounted(t)
	quick := 0
	for range 20 {
		n := c.calls.Load()
		c.start()
		c.await(t, n+1)
		Signal(c.FD())
		c.await(t, n+2)
		began := time.Now()
		c.Stop()
		if time.Since(began) < hotWait/2 {
			quick++
		}
	}
	if quick < 10 {
		t.Errorf("%d of 20 stops took less than %v", quick, hotWait/2)
	}
}

func TestFull(t *testing.T) {
	fd, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	Signal(fd) // returns
}

func TestWhatCannotBePolledIsRefusedAndClosed(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKicker(fd); err == nil {
		t.Error("a regular file was accepted")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor is still there: %v", err)
	}
}
