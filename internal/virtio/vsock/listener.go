package vsock

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
)

// Listener takes the guest's connections to one host port. It implements
// [net.Listener] and outlives resets of the guest.
type Listener struct {
	dev  *Device
	port uint32

	// What follows is guarded by dev.mu.
	closed  bool
	backlog []*Conn // oldest first
	arrived *sync.Cond
}

var _ net.Listener = (*Listener)(nil)

// Listen takes connections from the guest to a port of the host, 0 to 2^32-2. The
// listener is a [*Listener]. The error wraps EADDRINUSE when the port has one.
func (d *Device) Listen(port uint32) (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, taken := d.listeners[port]; taken || port == portAny {
		return nil, fmt.Errorf("listen on vsock port %d: %w", port, syscall.EADDRINUSE)
	}
	l := &Listener{dev: d, port: port, arrived: sync.NewCond(&d.mu)}
	d.listeners[port] = l
	return l, nil
}

// accept handles a REQUEST. The guest is answered at once, as Linux does, not when
// somebody calls Accept.
func (d *Device) accept(p ports, h *header) {
	l := d.listeners[p.host]
	if l == nil {
		d.refuse(h)
		return
	}
	if len(l.backlog) >= d.limits.backlog || d.slots >= d.limits.conns {
		logPacket(d.log, "connection refused: too many", h)
		d.refuse(h)
		return
	}
	c := d.newConn(p, open)
	if err := c.flow.heard(h.bufAlloc, h.fwdCnt); err != nil {
		logPacket(d.log, err.Error(), h)
		c.closed = true
		d.abort(c, ErrProtocol)
		return
	}
	c.listener = l
	l.backlog = append(l.backlog, c)
	d.post(c, opResponse, 0)
	l.arrived.Signal()
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	l.dev.mu.Lock()
	defer l.dev.mu.Unlock()
	for len(l.backlog) == 0 && !l.closed {
		l.arrived.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: Addr{}.Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
	c := l.backlog[0]
	l.backlog = slices.Delete(l.backlog, 0, 1)
	c.listener = nil
	return c, nil
}

// drop removes a connection that ended before it was accepted.
func (l *Listener) drop(c *Conn) {
	l.backlog = slices.DeleteFunc(l.backlog, func(b *Conn) bool { return b == c })
	c.listener = nil
	l.dev.close(c)
}

// Close implements net.Listener. Connections that nobody accepted are reset;
// accepted ones stay.
func (l *Listener) Close() error {
	d := l.dev
	d.mu.Lock()
	defer d.leave()
	if l.closed {
		return &net.OpError{Op: "close", Net: Addr{}.Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	delete(d.listeners, l.port)
	for _, c := range l.backlog {
		c.listener = nil
		d.abort(c, nil)
		d.close(c)
	}
	l.backlog = nil
	l.arrived.Broadcast()
	return nil
}

// Addr implements net.Listener; the result is an [Addr].
func (l *Listener) Addr() net.Addr { return Addr{HostCID, l.port} }
