package vsock

import (
	"context"
	"errors"
	"net"
	"slices"
)

const (
	firstEphemeral = 49152      // host ports of Dial start above it
	portAny        = 0xffffffff // VMADDR_PORT_ANY of Linux: not a port
)

// Dial connects to a port of the guest and waits for its answer until ctx ends.
// The connection is a [*Conn]. The error wraps ECONNREFUSED when the guest refuses,
// [ErrStopped] when it has no driver, [ErrTooMany] at the limit of connections, and
// the context's error when that ended first.
func (d *Device) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	c, err := d.dial(ctx, port)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: Addr{}.Network(), Addr: Addr{d.guestCID, port}, Err: err}
	}
	return c, nil
}

func (d *Device) dial(ctx context.Context, port uint32) (*Conn, error) {
	d.mu.Lock()
	defer d.leave()
	if port == portAny {
		return nil, errors.New("no such port")
	}
	d.awaitReset(ctx)
	switch {
	case !d.started || d.broken:
		return nil, ErrStopped
	case d.slots >= d.limits.conns:
		return nil, ErrTooMany
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	c := d.newConn(ports{guest: port, host: d.freePort(port)}, connecting)
	d.post(c, opRequest, 0)
	d.flush()
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		c.writable.Broadcast()
	})
	defer stop()
	for c.state == connecting && ctx.Err() == nil {
		c.writable.Wait()
	}
	switch {
	case c.answered: // and perhaps gone again, with something to read
		return c, nil
	case c.state == connecting:
		d.giveUp(c)
		return nil, ctx.Err()
	}
	c.closed = true
	d.release(c)
	return nil, c.err
}

// giveUp ends a connection that was not answered. A REQUEST that still waits for
// a receive buffer is taken back, so that dialing a stuck guest again and again
// does not pile up packets.
func (d *Device) giveUp(c *Conn) {
	before := len(d.control)
	d.control = slices.DeleteFunc(d.control, func(p control) bool { return p.conn == c })
	if len(d.control) == before {
		d.post(c, opRST, 0)
	}
	c.closed = true
	d.end(c, nil)
}

// freePort picks the host port for a connection to a guest port. There are more
// ports than connections, so it ends.
func (d *Device) freePort(guest uint32) uint32 {
	for {
		if d.lastPort++; d.lastPort == portAny {
			d.lastPort = firstEphemeral
		}
		_, used := d.conns[ports{guest: guest, host: d.lastPort}]
		_, listening := d.listeners[d.lastPort]
		if !used && !listening {
			return d.lastPort
		}
	}
}
