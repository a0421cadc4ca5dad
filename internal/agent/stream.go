package agent

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

// outputChunk is how much output is sent at once: a frame of it is exactly the
// largest packet of Linux's virtio-vsock driver.
const outputChunk = agentproto.MaxPayload - agentproto.HeaderSize

// errHostGone says that the host ended the connection before the program did.
var errHostGone = errors.New("the host closed the connection")

// stream carries a running program's streams over a channel. It is the same
// for the main program and for exec.
type stream struct {
	ch   *channel
	proc *program.Process
	// ended, if set, is called when the program has ended, before the rest of
	// its output is sent; flushed, if set, after that and before its exit.
	ended, flushed func()
	// idle and limit say when to stop waiting for the end of the output after
	// the program ended, since others may hold its pipes open: after idle
	// without output, or after limit bytes (0: no limit). What the program
	// itself wrote is in the pipe by then, and less than limit.
	idle  time.Duration
	limit int64

	stdin    *stdinBuffer
	draining atomic.Bool
}

// run carries the streams, reports the program's exit, and closes the channel.
// When the host goes first the program is killed, and run returns errHostGone
// or what the host did wrong.
func (s *stream) run() error {
	s.stdin = newStdinBuffer(s.proc.Stdin != nil)
	defer s.proc.Close()
	defer s.ch.conn.Close()

	lost := make(chan struct{}) // closed once why is set
	var why error
	go func() {
		why = s.receive()
		close(lost)
	}()
	if err := s.announce(); err != nil {
		_ = s.ch.conn.Close() // receive finds out
	}

	var input, outputs sync.WaitGroup
	if s.proc.Stdin != nil {
		input.Go(s.feed)
	}
	outputs.Go(func() { s.carry(agentproto.TypeStdout, s.proc.Stdout) })
	if s.proc.Stderr != nil {
		outputs.Go(func() { s.carry(agentproto.TypeStderr, s.proc.Stderr) })
	}

	var gone error
	select {
	case <-s.proc.Done():
	case <-lost:
		gone = why
		s.ch.fail(gone)
		_ = s.ch.conn.Close() // unblocks carry
		_ = s.proc.Kill()     // it may have ended this moment
		<-s.proc.Done()
	}

	if s.ended != nil {
		s.ended()
	}
	s.drain()
	outputs.Wait()
	s.stdin.stop()
	s.proc.Unblock()
	input.Wait()
	if s.flushed != nil {
		s.flushed()
	}
	if gone != nil {
		return gone
	}
	if err := s.ch.out.Exit(s.proc.Exit()); err != nil {
		return errHostGone
	}
	// The host closes when it has read the exit.
	select {
	case <-lost:
	case <-time.After(lingerTimeout):
	}
	return nil
}

// lingerTimeout is how long the host may take to close a finished connection.
const lingerTimeout = 10 * time.Second

// announce says that the program runs, and grants it input.
func (s *stream) announce() error {
	if err := s.ch.out.Started(agentproto.Started{PID: s.proc.PID}); err != nil {
		return err
	}
	if s.proc.Stdin == nil {
		return nil
	}
	return s.ch.out.Credit(agentproto.StdinWindow)
}

// receive does what the host sends, until the connection ends. It never
// writes and never waits for the program.
func (s *stream) receive() error {
	for {
		f, err := s.ch.in.Next()
		if err == nil {
			err = s.handle(f)
		}
		if _, ok := errors.AsType[*agentproto.ViolationError](err); ok {
			return err
		}
		if err != nil {
			return errHostGone
		}
	}
}

func (s *stream) handle(f agentproto.Frame) error {
	switch f.Type {
	case agentproto.TypeStdin:
		return s.stdin.put(f.Payload)
	case agentproto.TypeStdinEOF:
		return s.stdin.end()
	case agentproto.TypeWinsize:
		_ = s.proc.Resize(f.WindowSize()) // the program may have ended
	case agentproto.TypeSignal:
		n, err := f.Signal()
		if err != nil {
			return err
		}
		_ = s.proc.Signal(n) // likewise
	default:
		return &agentproto.ViolationError{What: "a specification while a program runs"}
	}
	return nil
}

// feed gives the program its input.
func (s *stream) feed() {
	partial := false
	for {
		b := s.stdin.next()
		if b == nil {
			break
		}
		partial = b[len(b)-1] != '\n'
		if _, err := s.proc.Stdin.Write(b); err != nil {
			s.stdin.stop()
			_ = s.ch.out.Frame(agentproto.TypeStdinClosed, nil) // receive notices
			return
		}
		if n := s.stdin.took(len(b)); n > 0 && s.ch.out.Credit(n) != nil {
			return
		}
	}
	_ = s.proc.EndStdin(partial) // a program that has ended needs no end
}

// carry sends what the program writes to one of its streams. Backpressure is
// the connection's: while the host does not read, the program's writes block.
func (s *stream) carry(t agentproto.Type, from *os.File) {
	buf := make([]byte, outputChunk)
	left := s.limit
	for {
		draining := s.draining.Load()
		if draining {
			_ = from.SetReadDeadline(time.Now().Add(s.idle)) // pipes and terminals have deadlines
		}
		n, err := from.Read(buf)
		if n > 0 && s.ch.out.Frame(t, buf[:n]) != nil {
			_ = s.ch.conn.Close() // receive notices
			return
		}
		// A terminal ends with EIO.
		if err != nil && !(errors.Is(err, os.ErrDeadlineExceeded) && !draining) {
			return
		}
		if draining && s.limit > 0 {
			if left -= int64(n); left <= 0 {
				return
			}
		}
	}
}

// drain makes carry stop at the end of what has been written.
func (s *stream) drain() {
	s.draining.Store(true)
	for _, f := range []*os.File{s.proc.Stdout, s.proc.Stderr} {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(s.idle))
		}
	}
}
