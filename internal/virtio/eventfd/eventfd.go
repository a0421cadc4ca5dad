// Package eventfd is how a transport hears from a driver and answers it:
// eventfds that the hypervisor ties to the guest's notifications, and to its
// interrupts.
//
// Descriptors are plain numbers here, not files: Go's poller would watch an
// eventfd that became a file, and wake up whenever we signal it.
package eventfd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// New makes an eventfd, non-blocking and with nothing to read. Its caller closes
// it.
func New() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make eventfd: %w", err)
	}
	return fd, nil
}

var one = []byte{1, 0, 0, 0, 0, 0, 0, 0}

// Signal adds one to a non-blocking eventfd. It never waits, and cannot fail in a
// way that matters: a counter at its end has something to read already.
func Signal(fd int) { rawWrite(fd, one) }
