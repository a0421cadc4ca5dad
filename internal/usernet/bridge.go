package usernet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A bridge copies between a connection of the guest and one of the host. Bytes go
// from the stack's packets into the host's socket and from there into packets
// without a buffer in between, so that an idle connection costs none either.

// Coalescing: while more than busyBytes wait for the guest, less than smallRead
// bytes of the host are left in its socket, to be read together with what
// follows. Otherwise a peer that sends single bytes to a guest that takes none
// would cost us a packet's overhead for each. The time between two looks doubles
// while nothing changes: a guest that stands still costs next to nothing, and waits
// for little longer than it did before.
const (
	busyBytes    = 32 << 10
	smallRead    = 4 << 10
	patience     = time.Millisecond
	mostPatience = 128 * time.Millisecond
)

// Ends of a copy other than the end of the data.
var (
	errGuest = errors.New("the guest reset the connection")
	errHost  = errors.New("the host's peer reset the connection")
)

type bridge struct {
	guest    guestConn
	host     *net.TCPConn
	raw      syscall.RawConn
	ended    atomic.Bool // whether the host's peer was told that no more comes
	received atomic.Bool // whether all that it sends has come
}

// bridge copies both ways until both have ended or one has failed, and closes both
// connections: with a reset if there was one.
func (n *Network) bridge(g guestConn, host *net.TCPConn) {
	raw, err := host.SyscallConn()
	if err != nil {
		g.ep.Abort()
		reset(host)
		return
	}
	b := &bridge{guest: g, host: host, raw: raw}
	// Bytes out of band are not forwarded as such, but must not be in the way.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1) })

	// A copy that waits for the host is woken when the guest resets.
	entry := waiter.NewFunctionEntry(waiter.EventErr|waiter.EventHUp, func(waiter.EventMask) {
		if g.failedState() {
			b.wakeHost()
		}
	})
	g.wq.EventRegister(&entry)
	defer g.wq.EventUnregister(&entry)
	stop := context.AfterFunc(n.ctx, b.abort)
	defer stop()

	var toHost, toGuest error
	var both sync.WaitGroup
	both.Go(func() {
		switch toHost = b.toHost(); {
		case toHost != nil:
			b.abort()
		case b.received.Load(): // the other copy waits for this one only
			b.wakeHost()
		}
	})
	if toGuest = b.toGuest(); toGuest != nil {
		b.abort()
	}
	both.Wait()
	if toHost != nil || toGuest != nil {
		g.ep.Abort()
		reset(host)
		return
	}
	_ = host.Close()
	g.finish(n.ctx)
}

// abort makes both copies end.
func (b *bridge) abort() {
	b.guest.ep.Abort()
	b.wakeHost()
}

// wakeHost makes whoever waits for the host's socket return, and fails what would
// wait for it.
func (b *bridge) wakeHost() { _ = b.host.SetDeadline(time.Unix(1, 0)) }

// toHost copies what the guest sends, and then its end.
func (b *bridge) toHost() error {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	b.guest.wq.EventRegister(&entry)
	defer b.guest.wq.EventUnregister(&entry)
	var out socketWriter
	for {
		var n int
		var terr tcpip.Error
		err := b.raw.Write(func(fd uintptr) bool {
			out = socketWriter{fd: int(fd), left: copySize}
			var res tcpip.ReadResult
			res, terr = b.guest.ep.Read(&out, tcpip.ReadOptions{})
			n = res.Count
			return n > 0 || out.err != unix.EAGAIN
		})
		if err != nil {
			return b.waited(err)
		}
		if n > 0 {
			b.guest.ep.ModerateRecvBuf(n)
		}
		if out.err != nil && out.err != unix.EAGAIN && out.err != errEnough {
			return errHost
		}
		switch terr.(type) {
		case nil, *tcpip.ErrBadBuffer:
		case *tcpip.ErrWouldBlock:
			<-readable
		case *tcpip.ErrClosedForReceive:
			if b.guest.failedState() {
				return errGuest
			}
			b.ended.Store(true)
			if b.host.CloseWrite() != nil {
				return errHost
			}
			return nil
		default:
			return errGuest
		}
	}
}

// waited tells why waiting for the host ended: somebody called wakeHost.
func (b *bridge) waited(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && b.guest.failedState() {
		return errGuest
	}
	return errHost
}

// toGuest copies what the host's peer sends, and then its end.
func (b *bridge) toGuest() error {
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	b.guest.wq.EventRegister(&entry)
	defer b.guest.wq.EventUnregister(&entry)
	in := new(socketReader)
	wait := patience
	for {
		var terr tcpip.Error
		small := false
		err := b.raw.Read(func(fd uintptr) bool {
			*in = socketReader{fd: int(fd)}
			if !in.look() {
				return false
			}
			if errors.Is(in.err, io.EOF) && b.wasReset(in.fd) {
				in.err = errHost
			}
			if in.err != nil {
				return true
			}
			if small = in.left < smallRead && b.guest.busy(); small {
				return true
			}
			_, terr = b.guest.ep.Write(in, tcpip.WriteOptions{})
			return true
		})
		switch {
		case err != nil:
			return b.waited(err)
		case small:
			pause(writable, wait)
			wait = min(2*wait, mostPatience)
			continue
		case errors.Is(in.err, io.EOF):
			if b.guest.ep.Shutdown(tcpip.ShutdownWrite) != nil {
				return errGuest
			}
			return b.awaitReset()
		case in.err != nil:
			return errHost
		}
		wait = patience
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			<-writable
		default:
			return errGuest
		}
	}
}

// awaitReset waits, behind the end of what the host's peer sends, until the other copy
// has ended, too. The peer may reset the connection before.
func (b *bridge) awaitReset() error {
	b.received.Store(true)
	reset := false
	err := b.raw.Read(func(fd uintptr) bool {
		reset = b.wasReset(int(fd))
		return reset || b.ended.Load()
	})
	switch {
	case reset:
		return errHost
	case b.ended.Load():
		return nil
	}
	return b.waited(err)
}

// wasReset reports whether what looks like the end of a socket's data is a reset,
// of which the other copy has been told already. A socket that we have not ended
// is closed for no other reason.
func (b *bridge) wasReset(fd int) bool {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == tcpClose && !b.ended.Load()
}

// tcpClose is a state of a socket (TCP_CLOSE in Linux' tcp_states.h).
const tcpClose = 7

// pause waits, at most until something happens to the guest's connection.
func pause(writable <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-writable:
	}
}

// busy reports whether more than busyBytes wait for the guest. The stack does not
// say how much does, but whether a buffer of some size would be full. Nobody else
// than the caller waits for room in it.
func (g guestConn) busy() bool {
	options := g.ep.SocketOptions()
	size := options.GetSendBufferSize()
	options.SetSendBufferSize(busyBytes, false)
	ready := g.ep.Readiness(waiter.WritableEvents)
	options.SetSendBufferSize(size, false)
	return ready == 0
}
