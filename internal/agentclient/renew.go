package agentclient

import (
	"context"
	"fmt"
	"net"

	"github.com/holtvm/holt/internal/agentproto"
)

// Freeze asks the agent to hold all user space. addr is the guest-physical address of
// the mailbox whose state says when it does (agentproto.MailboxFrozen). The guest chose
// it: it need not be memory. An *agentproto.Error says why the guest cannot do it, of
// KindBusy that it does so already. Freeze closes conn, which is what the agent waits for.
func Freeze(ctx context.Context, conn net.Conn) (addr uint64, err error) {
	answers := 0
	err = operate(ctx, conn, agentproto.Request{Op: agentproto.OpFreeze}, nil, func(b []byte) error {
		f, err := agentproto.DecodeFreeze(b)
		addr, answers = f.Addr, answers+1
		return err
	})
	if err == nil && answers != 1 {
		err = &agentproto.ViolationError{What: fmt.Sprintf("%d answers to a freeze", answers)}
	}
	if err != nil {
		return 0, err
	}
	return addr, nil
}

// Renew gives the guest what r says and makes conn, a fresh connection to the agent's
// service port, the one that carries the main program. What the agent sends of it is
// read from in, which may hold some of it already: first that it has started, also if
// it did long ago; the end of the connection if there is none. It is for a monitor that
// passes the frames on, as Handshake is. An *agentproto.Error says what the guest could
// not do; an error that wraps ErrLost that the connection broke, and then Renew may be
// called again. When ctx ends first, conn is closed.
func Renew(ctx context.Context, conn net.Conn, r agentproto.Renewal) (in *agentproto.Reader, err error) {
	p := newPeer(conn)
	err = p.during(ctx, func() error {
		if err := p.ask(agentproto.Request{Op: agentproto.OpRenew}, r); err != nil {
			return err
		}
		return awaitOK(p.in)
	})
	if err != nil {
		return nil, fmt.Errorf("renew guest: %w", err)
	}
	return p.in, nil
}

// AwaitHeld returns when a guest whose BootSpec says Hold is ready. in is what Handshake
// returned; the connection is not needed any more then, and after an error it can only
// be closed. An *agentproto.Error says why the guest does not get ready, ErrLost that it
// went away.
func AwaitHeld(ctx context.Context, in *agentproto.Reader) error {
	answer := make(chan error, 1)
	go func() { answer <- awaitOK(in) }()
	select {
	case err := <-answer:
		if err != nil {
			return fmt.Errorf("boot guest: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("boot guest: %w", context.Cause(ctx))
	}
}

// awaitOK reads the answer to what has no other.
func awaitOK(in *agentproto.Reader) error {
	f, err := in.Next()
	switch {
	case err != nil:
		return lost(err)
	case f.Type == agentproto.TypeOK:
		return nil
	case f.Type == agentproto.TypeError:
		return reported(f)
	}
	return unexpected(f)
}
