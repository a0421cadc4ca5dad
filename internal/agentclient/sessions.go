package agentclient

import (
	"context"
	"fmt"
	"net"

	"github.com/holtvm/holt/internal/agentproto"
)

// Detached starts a program over conn, a fresh connection to the agent's service port,
// and leaves it running: id names its session. It closes conn.
func Detached(ctx context.Context, conn net.Conn, spec agentproto.Program) (id string, pid int, err error) {
	p := newPeer(conn)
	s := newSession(p, agentproto.Program{}, Output{})
	defer s.Close()
	err = p.during(ctx, func() error {
		if err := p.ask(agentproto.Request{Op: agentproto.OpExec, Detached: true}, spec); err != nil {
			return err
		}
		if err := s.awaitStart(); err != nil {
			return err
		}
		f, err := p.in.Next()
		switch {
		case err != nil:
			return lost(err)
		case f.Type != agentproto.TypeOK:
			return unexpected(f)
		}
		return nil
	})
	if err != nil {
		return "", 0, fmt.Errorf("exec in guest: %w", err)
	}
	return s.ID, s.PID, nil
}

// AttachSession connects to a session that was detached, over conn, a fresh connection
// to the agent's service port. The last output since then comes first. Without stdin
// the program's input stays as it is, and Session.Stdin is closed. Errors and ctx are
// as for Boot: KindNotFound says that there is no such session, KindBusy that somebody
// else is connected to it. Closing the session leaves the program running.
func AttachSession(ctx context.Context, conn net.Conn, id string, out Output, stdin bool) (*Session, error) {
	p := newPeer(conn)
	s := newSession(p, agentproto.Program{Stdin: stdin}, out)
	err := s.begin(ctx, func() error {
		return p.ask(agentproto.Request{Op: agentproto.OpAttach}, agentproto.Attach{Session: id})
	})
	if err != nil {
		return nil, fmt.Errorf("attach to session %.80q: %w", id, err)
	}
	return s, nil
}

// SignalSession signals the program of a session, or the main program. It fails with
// KindNotFound if there is none, or it has ended. It closes conn.
func SignalSession(ctx context.Context, conn net.Conn, s agentproto.SessionSignal) error {
	return operate(ctx, conn, agentproto.Request{Op: agentproto.OpSignal}, s, nil)
}
