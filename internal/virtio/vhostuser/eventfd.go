package vhostuser

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/virtio/eventfd"
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

// signal adds one to the eventfd.
func (n *notifier) signal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.open {
		n.missed = true
		return
	}
	eventfd.Signal(n.fd)
}
