package agentclient

import (
	"fmt"
	"io"
	"sync"

	"github.com/holtvm/holt/internal/agentproto"
)

// stdin sends a program's standard input, never more than the agent granted.
type stdin struct {
	out *agentproto.Writer

	writing sync.Mutex // held by one Write or Close at a time

	mu     sync.Mutex
	change sync.Cond
	credit uint64
	err    error // set once nothing more may be written
}

func newStdin(out *agentproto.Writer, open bool) *stdin {
	s := &stdin{out: out}
	s.change.L = &s.mu
	if !open {
		s.err = io.ErrClosedPipe
	}
	return s
}

// Write implements io.Writer.
func (s *stdin) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	sent := 0
	for sent < len(b) {
		n, err := s.take(min(len(b)-sent, agentproto.MaxPayload))
		if err != nil {
			return sent, err
		}
		if err := s.out.Frame(agentproto.TypeStdin, b[sent:sent+n]); err != nil {
			s.end(err)
			return sent, fmt.Errorf("send standard input: %w", err)
		}
		sent += n
	}
	return sent, nil
}

// take waits for credit and uses up to n bytes of it.
func (s *stdin) take(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.credit == 0 && s.err == nil {
		s.change.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	n = int(min(uint64(n), s.credit))
	s.credit -= uint64(n)
	return n, nil
}

// Close implements io.Closer. It waits for a Write that is under way.
func (s *stdin) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if !s.end(io.ErrClosedPipe) {
		return nil
	}
	if err := s.out.Frame(agentproto.TypeStdinEOF, nil); err != nil {
		return fmt.Errorf("end standard input: %w", err)
	}
	return nil
}

// detach ends the writing, and then the host's part in the session.
func (s *stdin) detach() error {
	s.end(io.ErrClosedPipe) // a Write that waits for credit gives up
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.out.Frame(agentproto.TypeDetach, nil); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}

// end makes writes fail with err and reports whether it was the first to.
func (s *stdin) end(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.err = err
	s.change.Broadcast()
	return true
}

func (s *stdin) grant(n uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit += uint64(n)
	if s.credit > agentproto.MaxWindow {
		return &agentproto.ViolationError{What: fmt.Sprintf("credit of %d bytes, at most %d", s.credit, agentproto.MaxWindow)}
	}
	s.change.Broadcast()
	return nil
}
