package vsock

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Conn is the host's side of a connection. It implements [net.Conn]; reads and
// writes may run at once, and every method may be called from any goroutine.
//
// After the guest closed its side, Read yields what it sent and then [io.EOF];
// after a reset, what was received and then ECONNRESET; after the guest's driver
// stopped, what was received and then [ErrStopped].
type Conn struct {
	dev   *Device
	ports ports
	limit int        // of in, bytes: the credit that the guest has
	write sync.Mutex // held for a whole Write, so that two do not mix

	// What follows is guarded by dev.mu.
	state    connState
	answered bool      // the guest took our REQUEST
	err      error     // why state is gone
	closed   bool      // by our user
	shut     uint32    // SHUTDOWN flags that we sent
	peerShut uint32    // SHUTDOWN flags that the guest sent
	updating bool      // a credit update waits for a receive buffer
	listener *Listener // while in its backlog
	linger   *time.Timer
	flow     flow
	in       buffer

	readable, writable          *sync.Cond
	readDeadline, writeDeadline deadline
}

var _ net.Conn = (*Conn)(nil)

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	c.dev.mu.Lock()
	defer c.dev.leave()
	for {
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.readDeadline.passed:
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case c.in.n > 0:
			return c.take(p), nil
		case c.peerShut&shutSend != 0 || c.state == gone && c.err == nil:
			return 0, io.EOF
		case c.state == gone:
			return 0, c.fail("read", c.err)
		}
		c.readable.Wait()
	}
}

// take reads from the buffer and tells the guest of the room, once that is half
// of the buffer: more often would cost a packet for each Read, and until then
// the guest has the other half.
func (c *Conn) take(p []byte) int {
	n := c.in.read(p)
	c.flow.consumed += uint32(n)
	if c.flow.owed() >= uint32(c.limit+1)/2 && c.state == open && c.peerShut&shutSend == 0 {
		c.dev.post(c, opCreditUpdate, 0)
	}
	return n
}

// Write implements net.Conn. It returns when the last byte is in a receive buffer
// of the guest; it waits while the guest gives no credit or no buffers.
func (c *Conn) Write(p []byte) (int, error) {
	c.write.Lock()
	defer c.write.Unlock()
	d := c.dev
	d.mu.Lock()
	defer d.leave()
	sent := 0
	for {
		if err := c.writeError(); err != nil {
			return sent, c.fail("write", err)
		}
		if sent == len(p) {
			return sent, nil
		}
		n := d.sendData(c, p[sent:])
		sent += n
		switch {
		case n == 0 && c.state == open: // else the ring broke just now
			c.writable.Wait()
		case sent < len(p):
			d.mu.Unlock() // its turn is over
			d.mu.Lock()
		}
	}
}

// writeError is why nothing can be written now, or nil.
func (c *Conn) writeError() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.writeDeadline.passed:
		return os.ErrDeadlineExceeded
	case c.state == gone && c.err != nil:
		return c.err
	case c.state == gone || c.shut&shutSend != 0 || c.peerShut&shutRecv != 0:
		return syscall.EPIPE
	}
	return nil
}

// CloseWrite tells the guest that nothing more will be sent: its reader finds
// the end. The connection can still be read.
func (c *Conn) CloseWrite() error {
	c.dev.mu.Lock()
	defer c.dev.leave()
	switch {
	case c.closed:
		return c.fail("close", net.ErrClosed)
	case c.state == gone && c.err != nil:
		return c.fail("close", c.err)
	case c.state == open && c.shut&shutSend == 0:
		c.shut |= shutSend
		c.dev.post(c, opShutdown, shutSend)
		c.writable.Broadcast()
	}
	return nil
}

// Close implements net.Conn. What was written reaches the guest; what was not
// read is thrown away.
func (c *Conn) Close() error {
	c.dev.mu.Lock()
	defer c.dev.leave()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.dev.close(c)
	return nil
}

// LocalAddr implements net.Conn; the result is an [Addr].
func (c *Conn) LocalAddr() net.Addr { return Addr{HostCID, c.ports.host} }

// RemoteAddr implements net.Conn; the result is an [Addr].
func (c *Conn) RemoteAddr() net.Addr { return Addr{c.dev.guestCID, c.ports.guest} }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *Conn) setDeadlines(t time.Time, read, write bool) error {
	c.dev.mu.Lock()
	defer c.dev.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	if read {
		c.readDeadline.set(c.readable, t)
	}
	if write {
		c.writeDeadline.set(c.writable, t)
	}
	return nil
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: Addr{}.Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// stamp puts our side's credit into a packet that is about to leave.
func (c *Conn) stamp(h *header) {
	if h.op == opCreditUpdate {
		c.updating = false
	}
	h.bufAlloc, h.fwdCnt = uint32(c.limit), c.flow.consumed
	c.flow.told = c.flow.consumed
}
