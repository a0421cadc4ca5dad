package qemu

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// sockets are connected pairs of stream sockets: one end of each is ours, the
// other is for the child to inherit.
type sockets struct {
	ours   []*net.UnixConn
	theirs []*os.File
}

func openSockets(n int) (_ *sockets, err error) {
	s := &sockets{}
	defer func() {
		if err != nil {
			s.closeOurs()
			s.closeTheirs()
		}
	}()
	for range n {
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
		s.ours = append(s.ours, conn.(*net.UnixConn))
	}
	return s, nil
}

func (s *sockets) closeOurs() {
	for _, c := range s.ours {
		c.Close()
	}
}

func (s *sockets) closeTheirs() {
	for _, f := range s.theirs {
		f.Close()
	}
}
