package usernet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/holtvm/holt/internal/usernet/policy"
)

const (
	// maxHandshakes is how many connections the guest may have in the making. More
	// are ignored; it asks again.
	maxHandshakes = 1024
	// maxRequests is how many requests for connections are dealt with at a time. It
	// leaves room for those that are refused at once, whatever is in the making.
	maxRequests = 2 * maxHandshakes
	// dialTimeout is how long a connection of the host may take to be made. The
	// guest gives up after about two minutes by itself.
	dialTimeout = 20 * time.Second
	// keepaliveIdle is after how long a silent guest is asked whether it still has
	// the connection.
	keepaliveIdle = 10 * time.Minute
)

var errTooMany = errors.New("too many connections")

// handleTCP connects what the guest asked for: on the host first, and only then
// the guest's own connection is established, so that the guest learns of a
// refusal as one. It runs in a goroutine of its own.
func (n *Network) handleTCP(r *tcp.ForwarderRequest) {
	if !n.begin() {
		r.Complete(false)
		return
	}
	defer n.tasks.Done()
	id := r.ID()
	dst := netip.AddrPortFrom(toNetip(id.LocalAddress), id.LocalPort)
	if !n.acquire() {
		n.failed(policy.TCP, dst, errTooMany)
		r.Complete(true)
		return
	}
	defer n.release()
	if n.dnsService(dst) {
		n.acceptDNS(r, dst)
		return
	}
	target, verdict := n.resolve(policy.TCP, dst)
	if !verdict.Allow {
		n.denied(policy.TCP, target, verdict.Reason)
		r.Complete(true)
		return
	}
	if g, host := n.connect(r, target); host != nil {
		n.bridge(g, host)
	}
}

// connect opens a connection to target and establishes the guest's. It returns nil
// if that fails.
func (n *Network) connect(r *tcp.ForwarderRequest, target netip.AddrPort) (guestConn, *net.TCPConn) {
	select {
	case n.handshakes <- struct{}{}:
		defer func() { <-n.handshakes }()
	default:
		n.failed(policy.TCP, target, errTooMany)
		r.Complete(false)
		return guestConn{}, nil
	}
	host, err := dialTCP(n.ctx, target)
	if err != nil {
		n.failed(policy.TCP, target, err)
		r.Complete(true)
		return guestConn{}, nil
	}
	g, err := n.accept(r)
	if err != nil {
		reset(host)
		return guestConn{}, nil
	}
	return g, host
}

// acquire takes one of the places for connections. release gives it back.
func (n *Network) acquire() bool {
	active := n.counters.active.Add(1)
	if active > int64(n.limits.connections) {
		n.counters.active.Add(-1)
		return false
	}
	n.tuneBuffers(active)
	return true
}

func (n *Network) release() { n.tuneBuffers(n.counters.active.Add(-1)) }

// dialTCP opens a connection of the host.
func dialTCP(ctx context.Context, target netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// reset ends a connection of the host so that its peer notices.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // an end without it is still an end
	_ = c.Close()
}

// guestConn is the stack's end of a TCP connection with the guest.
type guestConn struct {
	ep tcpip.Endpoint
	wq *waiter.Queue
}

// accept establishes the connection that the guest asked for.
func (n *Network) accept(r *tcp.ForwarderRequest) (guestConn, error) {
	g := guestConn{wq: new(waiter.Queue)}
	ep, err := r.CreateEndpoint(g.wq)
	// There is nothing to reset if that failed: either the guest did not answer, or
	// it has such a connection already.
	r.Complete(false)
	if err != nil {
		return g, errors.New(err.String())
	}
	g.ep = ep
	g.keepalive()
	n.counters.connections.Add(1)
	return g, nil
}

// dialGuest opens a connection from the gateway to a port of the guest. from says
// in which IP version.
func (n *Network) dialGuest(ctx context.Context, from netip.Addr, port uint16) (guestConn, error) {
	g := guestConn{wq: new(waiter.Queue)}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	g.wq.EventRegister(&entry)
	defer g.wq.EventUnregister(&entry)
	var err tcpip.Error
	if g.ep, err = n.stack.NewEndpoint(tcp.ProtocolNumber, version(from), g.wq); err != nil {
		return g, errors.New(err.String())
	}
	local := tcpip.FullAddress{NIC: nicID, Addr: fromNetip(n.layout.gatewayFor(from))}
	if err = g.ep.Bind(local); err == nil {
		err = g.ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: fromNetip(n.layout.guestFor(from)), Port: port})
	}
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			g.ep.Abort()
			return g, ctx.Err()
		case <-ready:
		}
		err = g.ep.LastError()
	}
	if err != nil {
		g.ep.Close()
		return g, errors.New(err.String())
	}
	g.keepalive()
	n.counters.connections.Add(1)
	return g, nil
}

// keepalive makes the stack notice that a silent guest has forgotten the
// connection.
func (g guestConn) keepalive() {
	idle := tcpip.KeepaliveIdleOption(keepaliveIdle)
	_ = g.ep.SetSockOpt(&idle) // what it would refuse is a negative time
	g.ep.SocketOptions().SetKeepAlive(true)
}

// failedState reports whether the connection was reset or timed out.
func (g guestConn) failedState() bool { return tcp.EndpointState(g.ep.State()) == tcp.StateError }

// lingerTimeout is how long the guest may take to acknowledge the end of a
// connection.
const lingerTimeout = 5 * time.Second

// finish closes a connection of which both ways have ended. It waits for the guest
// to notice, but not for long, so that a guest cannot pile up connections that
// are about to end.
func (g guestConn) finish(ctx context.Context) {
	entry, gone := waiter.NewChannelEntry(waiter.EventHUp)
	g.wq.EventRegister(&entry)
	defer g.wq.EventUnregister(&entry)
	g.ep.Close()
	if s := tcp.EndpointState(g.ep.State()); s == tcp.StateClose || s == tcp.StateError || s == tcp.StateTimeWait {
		return
	}
	timer := time.NewTimer(lingerTimeout)
	defer timer.Stop()
	select {
	case <-gone:
	case <-ctx.Done():
	case <-timer.C:
		g.ep.Abort()
	}
}
