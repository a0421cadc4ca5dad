package monitor

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/outlog"
)

var (
	// errClientGone says that the client that the VM belongs to is gone.
	errClientGone = errors.New("the client is gone")
	// errInputTaken refuses a second client that wants to be the program's input.
	errInputTaken = errors.New("another client is connected to the program's standard input")
)

// program is the main program as its clients see it: its streams, and who is
// connected to them. Each frame of it passes on before the next is read, so a client
// that reads slowly holds back the program, and memory stays bounded. Standard input
// is metered by the agent's own credit.
type program struct {
	console *console
	log     *outlog.Writer // nil: the output is not kept
	ready   chan struct{}  // closed when the agent takes frames

	sending sync.Mutex // held while a frame goes out, so that all clients see the same order

	mu      sync.Mutex
	agent   *agentproto.Writer
	started []byte              // the payload of TypeStarted, once it came
	credit  uint64              // bytes of input that the agent takes and nobody has sent
	closed  bool                // the program takes no input any more
	input   *client             // whose input it gets, if anybody's
	clients map[*client]*client // a set
	over    bool                // no client is taken any more
}

func newProgram(con *console, log *outlog.Writer) *program {
	return &program{console: con, log: log, ready: make(chan struct{}), clients: make(map[*client]*client)}
}

// client is a connection to the program's streams.
type client struct {
	conn  net.Conn
	out   *agentproto.Writer
	owner bool // the VM ends when it goes away
}

// newClient makes a client of a connection. The owner may read as slowly as it
// likes; anybody else is let go who takes nothing for agentclient.Patience.
func newClient(conn net.Conn, owner bool) *client {
	out := agentclient.NewWriter(conn)
	if owner {
		out = agentproto.NewWriter(conn)
	}
	return &client{conn: conn, out: out, owner: owner}
}

// connect lets c see what the program prints from now on and, with input, gives the
// program its input.
func (p *program) connect(c *client, input bool) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return errEnded
	}
	if input && p.input != nil {
		p.mu.Unlock()
		return errInputTaken
	}
	p.clients[c] = c
	if input {
		p.input = c
	}
	started, credit, closed := p.started, p.credit, p.closed
	p.mu.Unlock()
	if started == nil {
		return nil // it sees the start itself
	}
	err := c.out.Frame(agentproto.TypeStarted, started)
	if err == nil && input && credit > 0 {
		err = c.out.Credit(uint32(credit))
	}
	if err == nil && input && closed {
		err = c.out.Frame(agentproto.TypeStdinClosed, nil)
	}
	if err != nil {
		p.leave(c)
	}
	return err
}

// leave forgets a client.
func (p *program) leave(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients, c)
	if p.input == c {
		p.input = nil
	}
}

// follow passes on what the client sends until it goes away, which is the error that
// it returns, or detaches, which is none. Nothing is passed on before the agent takes
// frames. An agent that takes nothing for agentclient.Patience is an error too: behind
// it nobody would notice that the client is gone.
func (p *program) follow(c *client, in *agentproto.Reader) error {
	defer p.leave(c)
	for {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			return errClientGone
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errClientGone, err)
		}
		if f.Type == agentproto.TypeDetach {
			return nil
		}
		<-p.ready
		if p.agent == nil {
			return errClientGone
		}
		pass, err := p.pass(c, f)
		if err != nil {
			return fmt.Errorf("%w: %w", errClientGone, err)
		}
		if !pass {
			continue
		}
		// An agent that is gone shows itself to carry.
		if err := p.agent.Frame(f.Type, f.Payload); errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the guest agent took nothing for %v", agentclient.Patience)
		}
	}
}

// pass says whether a frame of the client passes on, or that it may not be sent. Input
// may cross the news that the program takes no more, or follow another client's end of
// input: it is dropped.
func (p *program) pass(c *client, f agentproto.Frame) (bool, error) {
	switch f.Type {
	case agentproto.TypeWinsize, agentproto.TypeSignal:
		return true, nil
	case agentproto.TypeStdin, agentproto.TypeStdinEOF:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.input != c {
			return false, errors.New("it is not the program's input")
		}
		if uint64(len(f.Payload)) > p.credit {
			return false, fmt.Errorf("it sent %d bytes of input, %d were granted", len(f.Payload), p.credit)
		}
		if p.closed {
			return false, nil
		}
		p.credit -= uint64(len(f.Payload))
		p.closed = f.Type == agentproto.TypeStdinEOF
		return true, nil
	}
	return false, fmt.Errorf("it sent a frame of type %d", f.Type)
}

// take lets frames pass to the agent. A nil agent says that there will be none.
func (p *program) take(agent *agentproto.Writer) {
	select {
	case <-p.ready:
	default:
		p.agent = agent
		close(p.ready)
	}
}

// ran reports whether the program was started.
func (p *program) ran() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started != nil
}

// signal sends a signal to the program.
func (p *program) signal(n int) error {
	select {
	case <-p.ready:
		if p.agent != nil {
			return p.agent.Signal(n)
		}
	default:
	}
	return errEnded
}

// carry passes on what the agent sends until the program ends, and returns the last
// frame (an exit or an error) without passing it on. began is called when the program
// runs.
func (p *program) carry(in *agentproto.Reader, began func()) (last agentproto.Frame, err error) {
	for runs := false; ; {
		f, err := in.Next()
		if err != nil {
			return f, err
		}
		switch f.Type {
		case agentproto.TypeExit, agentproto.TypeError:
			return f, nil
		case agentproto.TypeStdout:
			p.keep(outlog.Stdout, f.Payload)
		case agentproto.TypeStderr:
			p.keep(outlog.Stderr, f.Payload)
		case agentproto.TypeStarted:
			if _, err := agentproto.DecodeStarted(f.Payload); err != nil {
				return f, err
			}
			if runs {
				return f, &agentproto.ViolationError{What: "a program that starts twice"}
			}
			runs = true
			began()
		case agentproto.TypeCredit, agentproto.TypeStdinClosed:
		default:
			return f, &agentproto.ViolationError{What: fmt.Sprintf("frame of type %d from a program", f.Type)}
		}
		if err := p.send(f); err != nil {
			return f, err
		}
	}
}

// keep notes the program's output.
func (p *program) keep(s outlog.Stream, b []byte) {
	p.console.output(b)
	if p.log != nil {
		_ = p.log.Write(s, time.Now(), b) // it marks what is missing
	}
}

// send passes a frame of the agent on to the clients that it is for. A client that is
// gone is forgotten; without its owner the VM is over.
func (p *program) send(f agentproto.Frame) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	to, err := p.audience(f)
	if err != nil {
		return err
	}
	for _, c := range to {
		if err := c.out.Frame(f.Type, f.Payload); err != nil {
			if c.owner {
				return fmt.Errorf("%w: %w", errClientGone, err)
			}
			p.leave(c)
			_ = c.conn.Close()
		}
	}
	return nil
}

// audience takes note of a frame and returns for whom it is.
func (p *program) audience(f agentproto.Frame) ([]*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch f.Type {
	case agentproto.TypeStarted:
		p.started = slices.Clone(f.Payload)
	case agentproto.TypeCredit:
		p.credit += uint64(f.Credit())
		if p.credit > agentproto.MaxWindow {
			return nil, &agentproto.ViolationError{What: fmt.Sprintf("credit of %d bytes, at most %d", p.credit, agentproto.MaxWindow)}
		}
	case agentproto.TypeStdinClosed:
		p.closed = true
	default:
		return slices.Collect(maps.Values(p.clients)), nil
	}
	if f.Type == agentproto.TypeStarted {
		return slices.Collect(maps.Values(p.clients)), nil
	}
	if p.input == nil {
		return nil, nil
	}
	return []*client{p.input}, nil
}

// hurry is called when the VM is over whatever its clients do: one that has held up a
// frame for a second is disconnected, and the console's file is not waited for.
func (p *program) hurry() {
	p.console.hurry()
	time.AfterFunc(time.Second, func() {
		if p.sending.TryLock() {
			p.sending.Unlock()
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.clients {
			_ = c.conn.Close()
		}
	})
}

// finish sends the last frame to all clients and closes their connections.
func (p *program) finish(f agentproto.Frame) {
	p.take(nil)
	p.sending.Lock()
	defer p.sending.Unlock()
	p.mu.Lock()
	p.over = true
	all := slices.Collect(maps.Values(p.clients))
	p.mu.Unlock()
	for _, c := range all {
		_ = c.out.Frame(f.Type, f.Payload) // it may be gone
		_ = c.conn.Close()
	}
}
