package qemu

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/virtio"
)

// sockets are connected pairs of stream sockets: one end of each is ours, the
// other is for the child to inherit. Where the child calls, ours is nil until it
// did.
type sockets struct {
	ours      []*net.UnixConn
	listeners []*net.UnixListener // nil, but where the child calls
	theirs    []*os.File
}

// openSockets makes one pair for QMP and one for each device.
func openSockets(devices []virtio.Device) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			s.closeOurs()
			s.closeTheirs()
		}
	}()
	for i := range 1 + len(devices) {
		if i > 0 && calls(devices[i-1]) {
			l, theirs, err := listen()
			if err != nil {
				return nil, fmt.Errorf("make a socket for qemu to call: %w", err)
			}
			s.ours, s.listeners, s.theirs = append(s.ours, nil), append(s.listeners, l), append(s.theirs, theirs)
			continue
		}
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("make a socket pair: %w", err)
		}
		s.theirs = append(s.theirs, os.NewFile(uintptr(fds[1]), "qemu-socket"))
		f := os.NewFile(uintptr(fds[0]), "socket")
		conn, err := net.FileConn(f) // a duplicate
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("use a socket pair: %w", err)
		}
		s.ours, s.listeners = append(s.ours, conn.(*net.UnixConn)), append(s.listeners, nil)
	}
	return s, nil
}

func (s *sockets) closeOurs() {
	for i, c := range s.ours {
		if l := s.listeners[i]; l != nil {
			l.Close()
		} else {
			c.Close()
		}
	}
}

func (s *sockets) closeTheirs() {
	for _, f := range s.theirs {
		f.Close()
	}
}
