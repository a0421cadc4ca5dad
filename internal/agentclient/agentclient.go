// Package agentclient is the host's end of the agent protocol, over any
// net.Conn: it boots the agent, starts programs and carries their streams.
//
// The guest is hostile, and so is the agent once the guest has taken it over.
// Nothing that arrives is trusted: lengths are bounded by agentproto, text is
// made printable, messages that come out of order end the connection, and no
// write waits for ever on an agent that does not read.
package agentclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// ErrLost is wrapped by the error of a connection that ended too early: the
// guest died, or the agent broke off.
var ErrLost = errors.New("the guest agent's connection was lost")

// Patience is how long the agent may take no byte of a frame. It always reads,
// whatever its program does, so only a broken agent reaches it.
const Patience = 30 * time.Second

// peer is a connection to the agent.
type peer struct {
	conn net.Conn
	in   *agentproto.Reader
	out  *agentproto.Writer
}

func newPeer(conn net.Conn) *peer {
	return &peer{
		conn: conn,
		in:   agentproto.NewReader(conn, agentproto.Agent),
		out:  NewWriter(conn),
	}
}

// NewWriter writes to the agent behind conn, each frame within Patience. Errors
// of the connection wrap ErrLost.
func NewWriter(conn net.Conn) *agentproto.Writer { return agentproto.NewWriter(timedWriter{conn}) }

// timedWriter gives every write Patience. Its errors wrap ErrLost.
type timedWriter struct{ conn net.Conn }

func (w timedWriter) Write(b []byte) (n int, err error) {
	err = w.conn.SetWriteDeadline(time.Now().Add(Patience))
	if err == nil {
		n, err = w.conn.Write(b)
	}
	if err != nil {
		return n, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return n, nil
}

// during runs f, and closes the connection if ctx is done before f is.
func (p *peer) during(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	err := f()
	if !stop() {
		return context.Cause(ctx)
	}
	return err
}

// Ping returns when the agent has answered. It closes conn.
func Ping(ctx context.Context, conn net.Conn) error {
	return simple(ctx, conn, agentproto.Request{Op: agentproto.OpPing})
}

// Shutdown asks the agent to end every process, with SIGTERM and, after grace,
// with SIGKILL, and to power off. It returns when the agent has agreed; the
// boot session reports the main program's end. Grace is cut to the protocol's
// whole milliseconds and its hour. Shutdown closes conn.
func Shutdown(ctx context.Context, conn net.Conn, grace time.Duration) error {
	ms := min(max(grace.Milliseconds(), 0), agentproto.MaxGraceMS)
	return simple(ctx, conn, agentproto.Request{Op: agentproto.OpShutdown, GraceMS: ms})
}

// simple does an operation that is answered with TypeOK.
func simple(ctx context.Context, conn net.Conn, q agentproto.Request) error {
	return operate(ctx, conn, q, nil, nil)
}

// operate does an operation that is answered with TypeReport frames, which each takes,
// and TypeOK. spec may be nil. It closes conn.
func operate(ctx context.Context, conn net.Conn, q agentproto.Request, spec specification, each func([]byte) error) error {
	defer conn.Close()
	p := newPeer(conn)
	err := p.during(ctx, func() error {
		if err := p.ask(q, spec); err != nil {
			return err
		}
		for {
			f, err := p.in.Next()
			if err != nil {
				return lost(err)
			}
			switch {
			case f.Type == agentproto.TypeOK:
				return nil
			case f.Type == agentproto.TypeError:
				return reported(f)
			case f.Type != agentproto.TypeReport || each == nil:
				return unexpected(f)
			}
			if err := each(f.Payload); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("agent %s: %w", q.Op, err)
	}
	return nil
}

// specification is what may follow a header line.
type specification interface{ Validate() error }

// ask sends a header line, and the specification if there is one.
func (p *peer) ask(q agentproto.Request, spec specification) error {
	var err error
	if spec == nil {
		err = p.out.Request(q)
	} else {
		err = p.out.Ask(q, spec)
	}
	if err != nil {
		return p.writeError(err)
	}
	return nil
}

// lost wraps the error of a read, so that an end of the connection is ErrLost.
func lost(err error) error {
	var violation *agentproto.ViolationError
	var version *agentproto.VersionError
	switch {
	case errors.As(err, &violation), errors.As(err, &version):
		return err
	case errors.Is(err, io.EOF):
		return ErrLost
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// writeError explains a failed write: an agent that refuses and closes has
// said why, and that says more than a broken pipe.
func (p *peer) writeError(err error) error {
	if !errors.Is(err, ErrLost) {
		return err // it could not be encoded
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Second))
	if f, rerr := p.in.Next(); rerr == nil && f.Type == agentproto.TypeError {
		return reported(f)
	}
	return err
}

// reported returns the agent's error as a *agentproto.Error with printable
// text, or says why it is none.
func reported(f agentproto.Frame) error {
	e, err := agentproto.DecodeError(f.Payload)
	if err != nil {
		return err
	}
	e.Message = agentproto.Printable(e.Message, agentproto.MaxMessage)
	return e
}

func unexpected(f agentproto.Frame) error {
	return &agentproto.ViolationError{What: fmt.Sprintf("frame of type %d out of order", f.Type)}
}
