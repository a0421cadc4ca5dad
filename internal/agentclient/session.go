package agentclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// Output is where a program's output goes. A nil writer throws it away. A
// writer that blocks makes the program block. One that fails ends the session
// as if its reader had gone: the program is killed, and Wait returns the error.
// The writers are called from one goroutine.
type Output struct {
	Stdout io.Writer // all output of a program with a terminal
	Stderr io.Writer
}

// Session is a program that runs in the guest. Its methods may be called from
// several goroutines.
type Session struct {
	// Hello is what the agent said of itself. It is set by Boot alone.
	Hello agentproto.Hello
	// PID is the program's process id in the guest, as the agent says.
	PID int
	// ID names the session to AttachSession and SignalSession.
	ID string

	peer  *peer
	out   Output
	stdin *stdin

	done chan struct{} // closed once exit and err are set
	exit agentproto.Exit
	err  error

	detaching atomic.Bool
	closeOnce sync.Once
}

// ErrDetached is what Wait returns of a session that was detached: the program goes on
// without it.
var ErrDetached = errors.New("the session was detached, and its program runs on")

func newSession(p *peer, spec agentproto.Program, out Output) *Session {
	if out.Stdout == nil {
		out.Stdout = io.Discard
	}
	if out.Stderr == nil {
		out.Stderr = io.Discard
	}
	return &Session{peer: p, out: out, stdin: newStdin(p.out, spec.Stdin), done: make(chan struct{})}
}

// begin asks for the program, waits until it runs, and starts to receive. When
// it fails, or ctx ends first, the connection is closed.
func (s *Session) begin(ctx context.Context, ask func() error) error {
	err := s.peer.during(ctx, func() error {
		if err := ask(); err != nil {
			return err
		}
		return s.awaitStart()
	})
	if err != nil {
		_ = s.Close()
		return err
	}
	go s.receive()
	return nil
}

// awaitStart reads the answer to a specification.
func (s *Session) awaitStart() error {
	f, err := s.peer.in.Next()
	if err != nil {
		return lost(err)
	}
	switch f.Type {
	case agentproto.TypeStarted:
		started, err := agentproto.DecodeStarted(f.Payload)
		s.PID, s.ID = started.PID, started.Session
		return err
	case agentproto.TypeError:
		return reported(f)
	}
	return unexpected(f)
}

// receive carries the program's output until it ends, one way or another.
func (s *Session) receive() {
	s.exit, s.err = s.frames()
	_ = s.Close() // nothing is lost by an error: all has been read
	s.stdin.end(io.ErrClosedPipe)
	close(s.done)
}

func (s *Session) frames() (agentproto.Exit, error) {
	for {
		f, err := s.peer.in.Next()
		if err != nil {
			return agentproto.Exit{}, lost(err)
		}
		switch f.Type {
		case agentproto.TypeStdout:
			if _, err := s.out.Stdout.Write(f.Payload); err != nil {
				return agentproto.Exit{}, fmt.Errorf("write standard output: %w", err)
			}
		case agentproto.TypeStderr:
			if _, err := s.out.Stderr.Write(f.Payload); err != nil {
				return agentproto.Exit{}, fmt.Errorf("write standard error: %w", err)
			}
		case agentproto.TypeCredit:
			if err := s.stdin.grant(f.Credit()); err != nil {
				return agentproto.Exit{}, err
			}
		case agentproto.TypeStdinClosed:
			s.stdin.end(io.ErrClosedPipe)
		case agentproto.TypeExit:
			return agentproto.DecodeExit(f.Payload)
		case agentproto.TypeOK:
			if !s.detaching.Load() {
				return agentproto.Exit{}, unexpected(f)
			}
			return agentproto.Exit{}, ErrDetached
		case agentproto.TypeError:
			return agentproto.Exit{}, reported(f)
		default:
			return agentproto.Exit{}, unexpected(f)
		}
	}
}

// Stdin is the program's standard input. A write blocks while the program does
// not read, and fails with io.ErrClosedPipe once it cannot read any more.
// Close ends the input; a terminal in line mode is sent its end-of-file
// character. It is closed from the start if the program was given no input.
func (s *Session) Stdin() io.WriteCloser { return s.stdin }

// Signal sends the signal numbered n, 1 to agentproto.MaxSignal, to the
// program. Signals are never behind input that the program does not read.
func (s *Session) Signal(n int) error {
	if n < 1 || n > agentproto.MaxSignal {
		return fmt.Errorf("signal %d: must be 1 to %d", n, agentproto.MaxSignal)
	}
	return s.peer.out.Signal(n)
}

// Resize sets the size of the program's terminal.
func (s *Session) Resize(rows, cols uint16) error {
	return s.peer.out.WindowSize(agentproto.WindowSize{Rows: rows, Cols: cols})
}

// Detach ends the session and leaves its program running: the agent keeps the last of
// its output, and its input stays open, for AttachSession. Output that has arrived by
// then is still written, so Detach waits for the writers, and must not be called by
// one. A program that ended meanwhile is no error: Wait tells the two apart. The main
// program cannot be detached.
func (s *Session) Detach() error {
	if !s.detaching.Swap(true) {
		_ = s.peer.conn.SetReadDeadline(time.Now().Add(Patience))
		// A connection that is broken ends by itself.
		if err := s.stdin.detach(); errors.Is(err, os.ErrDeadlineExceeded) {
			_ = s.Close()
		}
	}
	<-s.done
	if s.err != nil && !errors.Is(s.err, ErrDetached) {
		return s.err
	}
	return nil
}

// Wait waits for the program's end. All its output has been written by then.
// The error is ErrDetached after a Detach that came before, ErrLost if the guest went away first, *agentproto.Error if the
// agent gave up, *agentproto.ViolationError if the guest misbehaved, or that of
// an output writer.
func (s *Session) Wait() (agentproto.Exit, error) {
	<-s.done
	return s.exit, s.err
}

// Done is closed when Wait would return at once.
func (s *Session) Done() <-chan struct{} { return s.done }

// Close ends the session. A program that still runs is killed by the agent, unless it
// was detached, and if it is the main program the guest powers off.
func (s *Session) Close() error {
	var err error
	s.closeOnce.Do(func() { err = s.peer.conn.Close() })
	return err
}
