package agentclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// Handshake hears the agent that dialed conn out and gives it spec, with the time
// of this moment as its ClockNS. What the
// agent sends from then on is read from in, which may hold some of it already.
// It is for a monitor that passes the frames on; Boot is for everybody else.
// When ctx ends first, conn is closed.
func Handshake(ctx context.Context, conn net.Conn, spec agentproto.BootSpec) (hello agentproto.Hello, in *agentproto.Reader, err error) {
	p := newPeer(conn)
	err = p.during(ctx, func() error {
		hello, err = p.handshake(spec)
		return err
	})
	if err != nil {
		return hello, nil, fmt.Errorf("boot guest: %w", err)
	}
	return hello, p.in, nil
}

func (p *peer) handshake(spec agentproto.BootSpec) (agentproto.Hello, error) {
	hello, err := p.in.Hello()
	if err != nil {
		if _, ok := errors.AsType[*agentproto.VersionError](err); ok {
			// The agent can say so on the console. The connection is over anyway.
			_ = p.out.Error(&agentproto.Error{Kind: agentproto.KindVersion, Message: err.Error()})
		}
		return hello, lost(err)
	}
	hello.Kernel = agentproto.Printable(hello.Kernel, 128)
	hello.Machine = agentproto.Printable(hello.Machine, 128)
	spec.Holt = agentproto.Version
	// The agent is waiting: it gets the time when that has next to no age.
	spec.ClockNS = time.Now().UnixNano()
	if err := p.out.BootSpec(spec); err != nil {
		return hello, p.writeError(err)
	}
	return hello, nil
}

// Boot answers the agent that dialed conn with spec and returns when the main
// program runs. An *agentproto.Error says why it does not; ErrLost that the
// guest went away. Until then ctx ends the attempt; afterwards the session
// lives on its own. Boot closes conn when it fails, and the session does when
// the program has ended, which is how the agent knows that it may power off.
func Boot(ctx context.Context, conn net.Conn, spec agentproto.BootSpec, out Output) (*Session, error) {
	p := newPeer(conn)
	s := newSession(p, spec.Program, out)
	err := s.begin(ctx, func() (err error) {
		s.Hello, err = p.handshake(spec)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("boot guest: %w", err)
	}
	return s, nil
}

// Attach is Boot for an agent that has its specification already: somebody
// else did the handshake and passes the frames on over conn. spec is the main
// program of that specification.
func Attach(ctx context.Context, conn net.Conn, spec agentproto.Program, out Output) (*Session, error) {
	s := newSession(newPeer(conn), spec, out)
	if err := s.begin(ctx, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("start program in guest: %w", err)
	}
	return s, nil
}

// Exec starts a program over conn, a fresh connection to the agent's service
// port, and returns when it runs. Errors and ctx are as for Boot. Closing the
// session before the program has ended kills it, unless it was detached.
func Exec(ctx context.Context, conn net.Conn, spec agentproto.Program, out Output) (*Session, error) {
	p := newPeer(conn)
	s := newSession(p, spec, out)
	err := s.begin(ctx, func() error {
		return p.ask(agentproto.Request{Op: agentproto.OpExec}, spec)
	})
	if err != nil {
		return nil, fmt.Errorf("exec in guest: %w", err)
	}
	return s, nil
}
