package agent

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// channel is one connection with the host.
type channel struct {
	conn connection
	in   *agentproto.Reader
	out  *agentproto.Writer
	// lost says that the connection ended and the host did not end it.
	lost atomic.Bool
}

// connection is a socket: a file in the guest, a net.Conn in a test.
type connection interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

func newChannel(conn connection) *channel {
	return &channel{
		conn: conn,
		in:   agentproto.NewReader(conn, agentproto.Host),
		out:  agentproto.NewWriter(conn),
	}
}

// broke closes the connection, on which err happened, and returns errHostLost or
// errHostGone. In a machine that goes on from where another was saved the kernel resets
// all connections, for they were the other's: Linux says so with these two errors, and
// neither of them comes of a host that closes (virtio 1.2, 5.10.6.7).
func (c *channel) broke(err error) error {
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNRESET) {
		c.lost.Store(true)
	}
	_ = c.conn.Close()
	if c.lost.Load() {
		return errHostLost
	}
	return errHostGone
}

// abandon ends the connection as if it had been reset.
func (c *channel) abandon() {
	c.lost.Store(true)
	_ = c.conn.Close()
}

// specification reads the payload of the TypeSpec frame that must come next. A
// refusal by the host is returned as a *agentproto.Error.
func (c *channel) specification() ([]byte, error) {
	f, err := c.in.Next()
	if err != nil {
		return nil, err
	}
	switch f.Type {
	case agentproto.TypeSpec:
		return f.Payload, nil
	case agentproto.TypeError:
		e, err := agentproto.DecodeError(f.Payload)
		if err != nil {
			return nil, err
		}
		return nil, e
	}
	return nil, &agentproto.ViolationError{What: "no specification"}
}

// fail reports err to the host, as far as the connection still allows: a host
// that does not read must not hold up what follows.
func (c *channel) fail(err error) {
	t := time.AfterFunc(time.Second, func() { _ = c.conn.Close() })
	defer t.Stop()
	_ = c.out.Error(asError(err))
}

// asError gives err the kind that the protocol has for it.
func asError(err error) *agentproto.Error {
	var e *agentproto.Error
	var version *agentproto.VersionError
	var violation *agentproto.ViolationError
	kind := agentproto.KindInternal
	switch {
	case errors.As(err, &e):
		kind = e.Kind
	case errors.As(err, &version):
		kind = agentproto.KindVersion
	case errors.As(err, &violation):
		kind = agentproto.KindProtocol
	}
	return &agentproto.Error{Kind: kind, Message: err.Error()}
}

// linger waits until the host has closed the connection, which says that it
// has read everything, or until the timeout. Then it closes it too.
func (c *channel) linger(timeout time.Duration) {
	t := time.AfterFunc(timeout, func() { _ = c.conn.Close() })
	defer t.Stop()
	for {
		if _, err := c.in.Next(); err != nil {
			break
		}
	}
	_ = c.conn.Close()
}
