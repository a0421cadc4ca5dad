package vhostuser

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// notifier is an eventfd that we write: a ring's call or error descriptor. The
// front end may change it at any time, which QEMU does whenever the guest masks
// an interrupt vector.
type notifier struct {
	mu     sync.Mutex
	fd     int // meaningful if open
	open   bool
	missed bool // a signal came when there was no descriptor
}

// set takes over fd and closes the one before. A signal that nobody could get is
// delivered now.
func (n *notifier) set(fd int) error {
	// A counter at its end must not hold up a device.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return fmt.Errorf("make descriptor non-blocking: %w", err)
	}
	n.clear()
	n.mu.Lock()
	n.fd, n.open = fd, true
	missed := n.missed
	n.missed = false
	n.mu.Unlock()
	if missed {
		n.signal()
	}
	return nil
}

// clear closes the descriptor, if there is one.
func (n *notifier) clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open {
		unix.Close(n.fd)
		n.open = false
	}
}

var eventOne = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// signal adds one to the eventfd.
func (n *notifier) signal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.open {
		n.missed = true
		return
	}
	_, _ = unix.Write(n.fd, eventOne) // EAGAIN: there is something to read already
}

// kicker runs a function in one goroutine whenever an eventfd is signalled.
//
// It waits in Go's network poller. Measured against a goroutine that sits in
// poll(2) on the eventfd and a stop descriptor, a round trip takes half the
// time and half the CPU: an idle thread of the Go runtime is in epoll_wait anyway
// and runs the goroutine straight away.
type kicker struct {
	file *os.File
	conn syscall.RawConn
	done chan struct{} // not nil while running; closed when the goroutine ended
}

// newKicker takes over fd, which must be something that can be polled.
func newKicker(fd int) (*kicker, error) {
	if err := unix.SetNonblock(fd, true); err != nil { // QEMU's is already
		unix.Close(fd)
		return nil, fmt.Errorf("make kick descriptor non-blocking: %w", err)
	}
	k := &kicker{file: os.NewFile(uintptr(fd), "kick")}
	err := k.file.SetReadDeadline(time.Time{}) // fails for what Go cannot poll
	if err == nil {
		k.conn, err = k.file.SyscallConn()
	}
	if err != nil {
		k.file.Close()
		return nil, fmt.Errorf("poll kick descriptor: %w", err)
	}
	return k, nil
}

// start calls fn once, because signals from before may have been consumed, and
// then after every signal.
func (k *kicker) start(fn func()) {
	k.setDeadline(time.Time{})
	done := make(chan struct{})
	k.done = done
	go func() {
		defer close(done)
		var count [8]byte
		// A callback that never says it is done is called again for every
		// edge. One read per signal is then enough: nothing is lost between a
		// read and the wait, and no second read has to find the counter empty.
		_ = k.conn.Read(func(fd uintptr) bool {
			_, _ = unix.Read(int(fd), count[:])
			fn()
			return false
		})
	}()
}

// stop returns when fn does not run and will not run again.
func (k *kicker) stop() {
	if k.done == nil {
		return
	}
	k.setDeadline(time.Unix(1, 0)) // in the past: ends the wait and every later one
	<-k.done
	k.done = nil
}

// setDeadline cannot fail: newKicker has tried it.
func (k *kicker) setDeadline(t time.Time) { _ = k.file.SetReadDeadline(t) }

// close stops and closes the descriptor.
func (k *kicker) close() {
	k.stop()
	k.file.Close()
}
