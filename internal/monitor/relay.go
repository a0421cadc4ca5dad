package monitor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// relay carries frames between the client and the agent. Each frame passes on
// before the next is read, so a slow reader holds back the program and memory
// stays bounded; standard input is metered by the agent's own credit.
type relay struct {
	client  io.Writer
	console *console
}

// fromAgent passes on what the agent sends until the program ends, and returns
// the last frame (an exit or an error) without passing it on.
func (r relay) fromAgent(in *agentproto.Reader) (last agentproto.Frame, err error) {
	out := agentproto.NewWriter(r.client)
	for {
		f, err := in.Next()
		if err != nil {
			return f, err
		}
		switch f.Type {
		case agentproto.TypeExit, agentproto.TypeError:
			return f, nil
		case agentproto.TypeStdout, agentproto.TypeStderr:
			r.console.output(f.Payload)
		}
		if err := out.Frame(f.Type, f.Payload); err != nil {
			return f, fmt.Errorf("%w: %w", errClientGone, err)
		}
	}
}

// fromClient passes on what the client sends until it is gone, which is the
// error it returns. Nothing is passed on before agent yields the agent's
// connection. An agent that takes nothing for agentclient.Patience is an error
// too: behind it nobody would notice that the client is gone.
func fromClient(in *agentproto.Reader, agent <-chan net.Conn) error {
	var out *agentproto.Writer
	for {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			return errClientGone
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errClientGone, err)
		}
		if f.Type == agentproto.TypeSpec || f.Type == agentproto.TypeError {
			return fmt.Errorf("%w: it sent a frame of type %d", errClientGone, f.Type)
		}
		if out == nil {
			conn, ok := <-agent
			if !ok {
				return errClientGone
			}
			out = agentclient.NewWriter(conn)
		}
		// An agent that is gone shows itself to fromAgent.
		if err := out.Frame(f.Type, f.Payload); errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the guest agent took nothing for %v", agentclient.Patience)
		}
	}
}

// errClientGone says that nobody waits for this VM any more.
var errClientGone = errors.New("the client is gone")
