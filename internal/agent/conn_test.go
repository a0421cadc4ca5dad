package agent

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// vsockEnd is the agent's end of a connection, which ends as one of vsock does. A socket
// of another kind is reset when it is closed before everything was read, and vsock is
// when its transport is.
type vsockEnd struct {
	*os.File
	wasReset atomic.Bool
}

func (v *vsockEnd) Read(b []byte) (int, error) {
	n, err := v.File.Read(b)
	if err != nil && v.wasReset.Load() {
		return 0, unix.ENOTCONN
	}
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

func (v *vsockEnd) Write(b []byte) (int, error) {
	n, err := v.File.Write(b)
	if err != nil && v.wasReset.Load() {
		err = unix.ENOTCONN
	}
	return n, err
}

// reset is what becomes of the connections of a machine that goes on elsewhere.
func (v *vsockEnd) reset(t *testing.T) {
	t.Helper()
	v.wasReset.Store(true)
	raw, err := v.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RDWR) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// connect returns both ends of a connection: what the host holds, and what the
// agent holds, a file as over vsock.
func connect(t *testing.T) (host net.Conn, guest *vsockEnd) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "host")
	defer f.Close()
	if host, err = net.FileConn(f); err != nil {
		t.Fatal(err)
	}
	guest = &vsockEnd{File: os.NewFile(uintptr(fds[1]), "guest")}
	t.Cleanup(func() { host.Close(); guest.Close() })
	return host, guest
}
