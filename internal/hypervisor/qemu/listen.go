package qemu

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/virtio"
)

// calls reports whether QEMU must connect to dev's socket itself: its network front
// end refuses a socket that is connected already ("does not support FD passing").
func calls(dev virtio.Device) bool { return dev.Type() == virtio.TypeNet }

// listen makes a listening socket to which only those can connect who have file: by
// the path of the descriptor in /proc. It has no other name any more.
func listen() (_ *net.UnixListener, file *os.File, err error) {
	dir, err := os.MkdirTemp("", "holt-qemu-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	// The name of a socket must be short, and the directory's may not be.
	at, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(at)
	name := descriptorPath(at) + "/socket"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false) // the name is gone by then
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return l, os.NewFile(uintptr(fd), "qemu-calls"), nil
}

// descriptorPath names the file that a process has as its descriptor fd.
func descriptorPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// accept waits for the one call, or for ctx, and closes l.
func accept(ctx context.Context, l *net.UnixListener) (*net.UnixConn, error) {
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("wait for qemu's call: %w", err)
	}
	return conn, nil
}
