package agent

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// connectTimeout is how long the host may take to accept, in seconds. The
// kernel's own two seconds are short for a busy host that emulates the guest.
const connectTimeout = 20

// dialHost connects to a vsock port of the host.
func dialHost(port uint32) (*os.File, error) {
	fd, err := vsockSocket()
	if err != nil {
		return nil, err
	}
	// The level of vsock options is the family's number (vsock(7)).
	tv := unix.Timeval{Sec: connectTimeout}
	if err := unix.SetsockoptTimeval(fd, unix.AF_VSOCK, unix.SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set vsock connect timeout: %w", err)
	}
	f, err := pollable(fd, "host")
	if err != nil {
		return nil, err
	}
	if err = connectVsock(fd, &unix.SockaddrVM{CID: agentproto.HostCID, Port: port}); err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.ENODEV) {
		return nil, errors.New("this guest has no vsock device that the kernel knows: " +
			"the machine lacks a virtio-vsock device, or the kernel its driver (vmw_vsock_virtio_transport, virtio_pci or virtio_mmio)")
	}
	return nil, fmt.Errorf("connect to port %d of the host over vsock: %w", port, err)
}

// connectVsock connects a non-blocking socket, and waits for that. A blocking connect
// would not do: a signal, such as Go's runtime sends to its own threads, makes the
// kernel give it up when the host may have accepted already, and to the host a
// second attempt from the same port is a breach of the protocol.
func connectVsock(fd int, to *unix.SockaddrVM) error {
	err := unix.Connect(fd, to)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	// The socket's connect timeout ends this wait, too.
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		_, err = unix.Poll(ready, -1)
	}
	if err != nil {
		return err
	}
	status, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && status != 0 {
		err = unix.Errno(status)
	}
	return err
}

func vsockSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return -1, errors.New("this kernel has no virtio-vsock transport: it needs CONFIG_VSOCKETS and CONFIG_VIRTIO_VSOCKETS, built in or as modules in the initramfs")
	}
	if err != nil {
		return -1, fmt.Errorf("make vsock socket: %w", err)
	}
	return fd, nil
}

// pollable makes a file of a socket that waits in the runtime's poller.
func pollable(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set vsock socket non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// listener accepts connections from the host.
type listener struct{ f *os.File }

// listenVsock listens on a vsock port of the guest.
func listenVsock(port uint32) (*listener, error) {
	fd, err := vsockSocket()
	if err != nil {
		return nil, err
	}
	if err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port}); err == nil {
		err = unix.Listen(fd, maxConnections)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, err)
	}
	f, err := pollable(fd, "service")
	if err != nil {
		return nil, err
	}
	return &listener{f}, nil
}

// accept returns the next connection from the host, and its descriptor. Any other
// peer, such as a program in this guest over a loopback transport, is turned away.
func (l *listener) accept() (conn *os.File, fd int, err error) {
	sc, err := l.f.SyscallConn()
	if err != nil {
		return nil, -1, err
	}
	for {
		var from unix.Sockaddr
		var aerr error
		err := sc.Read(func(lfd uintptr) bool {
			fd, from, aerr = unix.Accept4(int(lfd), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(aerr, unix.EAGAIN)
		})
		if err != nil {
			return nil, -1, err
		}
		if errors.Is(aerr, unix.EINTR) || errors.Is(aerr, unix.ECONNABORTED) {
			continue
		}
		if aerr != nil {
			return nil, -1, aerr
		}
		if vm, ok := from.(*unix.SockaddrVM); !ok || vm.CID != agentproto.HostCID {
			_ = unix.Close(fd)
			continue
		}
		return os.NewFile(uintptr(fd), "operation"), fd, nil
	}
}
