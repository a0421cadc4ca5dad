package vsock

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// Why a connection or a Dial ended, where no errno says it.
var (
	// ErrStopped: the guest has no working vsock driver (any more).
	ErrStopped = errors.New("the guest's vsock driver is not running")
	// ErrProtocol: the guest sent what does not belong on the connection.
	ErrProtocol = errors.New("the guest broke the vsock protocol")
	// ErrTooMany: the device has as many connections as it may.
	ErrTooMany = errors.New("too many vsock connections")
)

// ports name a connection: the context IDs are the same for all.
type ports struct{ guest, host uint32 }

type connState int

const (
	connecting connState = iota // REQUEST sent
	open
	gone // not in the table: no packet is sent or received any more
)

// newConn enters a connection into the table. The caller checked that there is a
// slot and that the ports are free.
func (d *Device) newConn(p ports, state connState) *Conn {
	c := &Conn{dev: d, ports: p, limit: d.allot(), state: state}
	c.readable, c.writable = sync.NewCond(&d.mu), sync.NewCond(&d.mu)
	d.conns[p] = c
	d.made++
	d.slots++
	return c
}

// allot decides how much a new connection may receive before it is read. The first
// minBuffer are everybody's; of the budget for the rest nobody gets more than an
// eighth of what is left, so there is always some left.
func (d *Device) allot() int {
	extra := min(max(d.limits.buffer-minBuffer, 0), d.spare/8)
	d.spare -= extra
	return min(minBuffer, d.limits.buffer) + extra
}

// release gives back what newConn took, when both sides are done with c.
func (d *Device) release(c *Conn) {
	d.slots--
	d.spare += max(c.limit-minBuffer, 0)
}

// end takes c out of the table. err is what its user finds after the last
// received byte; nil stands for an orderly end.
func (d *Device) end(c *Conn, err error) {
	if c.state == gone {
		return
	}
	c.state, c.err = gone, err
	delete(d.conns, c.ports)
	delete(d.rxWaiters, c)
	if c.linger != nil {
		c.linger.Stop()
	}
	if c.closed {
		d.release(c)
	}
	if c.listener != nil && c.in.n == 0 {
		c.listener.drop(c) // nobody would learn anything from accepting it
	}
	c.readable.Broadcast()
	c.writable.Broadcast()
}

// abort is end, telling the guest.
func (d *Device) abort(c *Conn, err error) {
	if c.state != gone {
		d.post(c, opRST, 0)
		d.end(c, err)
	}
}

// endAll ends every connection when the rings go away. Dials that were held back have
// nothing to wait for.
func (d *Device) endAll(err error) {
	for _, c := range d.conns {
		d.end(c, err)
	}
	d.control, d.txLeft = nil, false
	d.tellReset, d.holdDials, d.awaitSign = false, false, false
	d.dialsGo.Broadcast()
}

// close ends the user's interest in c. The guest confirms with an RST that
// nothing more comes (5.10.6.5); meanwhile the ports stay taken.
func (d *Device) close(c *Conn) {
	c.closed = true
	c.in = buffer{}
	c.readDeadline.set(c.readable, time.Time{})
	c.writeDeadline.set(c.writable, time.Time{})
	if c.state == gone {
		d.release(c)
	} else {
		d.post(c, opShutdown, shutBoth)
		c.shut = shutBoth
		c.linger = time.AfterFunc(d.limits.linger, func() {
			d.mu.Lock()
			defer d.leave()
			d.abort(c, nil)
		})
	}
	c.readable.Broadcast()
	c.writable.Broadcast()
}

// receive handles a packet of this connection. An error means that it must be
// aborted.
func (c *Conn) receive(h *header, chain *queue.Chain) error {
	d := c.dev
	if h.op == opRST {
		d.end(c, c.resetError())
		return nil
	}
	window := c.flow.window()
	if err := c.flow.heard(h.bufAlloc, h.fwdCnt); err != nil {
		return err
	}
	if c.flow.window() > window {
		c.writable.Broadcast()
	}
	if c.state == connecting {
		if h.op != opResponse {
			return errors.New("packet before the response")
		}
		c.state, c.answered = open, true
		c.writable.Broadcast()
		return nil
	}
	switch h.op {
	case opRW:
		return c.receiveData(h, chain)
	case opCreditUpdate:
	case opCreditRequest:
		d.post(c, opCreditUpdate, 0)
	case opShutdown:
		c.peerShut |= h.flags & shutBoth
		c.readable.Broadcast()
		c.writable.Broadcast()
		if c.peerShut == shutBoth {
			d.abort(c, nil) // the RST that confirms (5.10.6.5)
		}
	default:
		return fmt.Errorf("operation %d on an open connection", h.op)
	}
	return nil
}

func (c *Conn) receiveData(h *header, chain *queue.Chain) error {
	switch {
	case uint64(headerLen)+uint64(h.length) > uint64(chain.ReadableLen()):
		return errors.New("packet shorter than it says")
	case c.peerShut&shutSend != 0:
		return errors.New("data after shutdown")
	case c.closed: // was on its way when we said that we would not read it
		c.flow.consumed += h.length
		return nil
	case uint64(h.length) > uint64(c.limit-c.in.n):
		return errors.New("more data than credit")
	}
	c.in.fill(chain, headerLen, int(h.length), c.limit)
	c.readable.Broadcast()
	return nil
}

// resetError is what an RST from the guest means in this state.
func (c *Conn) resetError() error {
	switch {
	case c.state == connecting:
		return syscall.ECONNREFUSED
	case c.peerShut&shutSend != 0:
		return nil
	}
	return syscall.ECONNRESET
}
