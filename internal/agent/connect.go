package agent

import (
	"errors"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

var (
	// errHostGone says that the host ended the connection before the program did.
	errHostGone = errors.New("the host closed the connection")
	// errHostLost says that the connection was reset, or that another one takes its
	// place: the program goes on.
	errHostLost = errors.New("the connection with the host was reset")
	// errDetached says that the host leaves the program to itself.
	errDetached = errors.New("the host detached")
)

// serve carries the streams over ch until one end goes. It returns nil if the host
// was sent the exit, errDetached if it waits for an answer to that, and otherwise
// errHostGone, errHostLost or what the host did wrong. After errHostLost somebody else
// may be sent all that is left, the exit too.
func (s *stream) serve(ch *channel) error {
	connected := make(chan struct{})
	go func() {
		defer close(connected)
		if err := s.connect(ch); err != nil {
			_ = ch.broke(err) // receive notices
		}
	}()
	why := s.receive(ch)
	select {
	case <-s.done: // the host may send what it likes behind the exit
	default:
		if _, ok := errors.AsType[*agentproto.ViolationError](why); ok {
			ch.fail(why)
		}
	}
	if errors.Is(why, errDetached) {
		// What is being written need not be read for ever.
		_ = ch.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
	} else {
		_ = ch.conn.Close() // ends what is being written
	}
	<-connected
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == ch {
		s.ch = nil
	}
	switch {
	case errors.Is(why, errHostLost):
		s.detached, s.reported = true, false
	case s.reported:
		return nil
	case errors.Is(why, errDetached):
		s.detached = true
	}
	return why
}

// connect sends ch what it has missed and then, through deliver, everything.
func (s *stream) connect(ch *channel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ch.out.Started(agentproto.Started{PID: s.proc.PID, Session: s.id}); err != nil {
		return err
	}
	if err := s.greet(ch.out); err != nil {
		return err
	}
	for _, p := range s.kept.pieces {
		if err := ch.out.Frame(p.stream, p.data); err != nil {
			return err
		}
	}
	s.ch = ch
	if s.over {
		s.report()
	}
	if !s.over || s.reported {
		s.kept = backlog{}
	}
	return nil
}

// greet says how much input the host may send.
func (s *stream) greet(out *agentproto.Writer) error {
	n, open := s.stdin.grant()
	switch {
	case n > 0:
		return out.Credit(n)
	case open: // as soon as there is room
	case s.detached || s.proc.Stdin != nil:
		return sendStdinClosed(out)
	}
	return nil // it asked for a program without input
}

// receive does what the host sends, until the connection ends. It never
// writes and never waits for the program.
func (s *stream) receive(ch *channel) error {
	for {
		f, err := ch.in.Next()
		if err == nil {
			err = s.handle(f)
		}
		if _, ok := errors.AsType[*agentproto.ViolationError](err); ok || errors.Is(err, errDetached) {
			return err
		}
		if err != nil {
			return ch.broke(err)
		}
	}
}

func (s *stream) handle(f agentproto.Frame) error {
	switch f.Type {
	case agentproto.TypeStdin:
		return s.stdin.put(f.Payload)
	case agentproto.TypeStdinEOF:
		s.stdin.end()
	case agentproto.TypeWinsize:
		_ = s.proc.Resize(f.WindowSize()) // the program may have ended
	case agentproto.TypeSignal:
		n, err := f.Signal()
		if err != nil {
			return err
		}
		_ = s.proc.Signal(n, false) // likewise
	case agentproto.TypeDetach:
		if s.id == agentproto.MainSession {
			return &agentproto.ViolationError{What: "the main program cannot be detached"}
		}
		return errDetached
	default:
		return &agentproto.ViolationError{What: "a specification while a program runs"}
	}
	return nil
}
