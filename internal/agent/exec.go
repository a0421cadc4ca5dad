package agent

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// execIdle is how long output of an exec is awaited after its program
	// ended, from processes that it left behind.
	execIdle = 100 * time.Millisecond
	// execLimit is the most that is awaited so, in bytes: the largest pipe
	// that a program gets (/proc/sys/fs/pipe-max-size).
	execLimit = 1 << 20
)

// exec runs a program that the host asked for.
func (a *agent) exec(ch *channel, spec []byte, detached bool) error {
	p, err := agentproto.DecodeProgram(spec)
	if err != nil {
		return err
	}
	if a.stopping.Load() {
		return &agentproto.Error{Kind: agentproto.KindBusy, Message: "the guest is shutting down"}
	}
	if a.sessions.running() >= maxSessions {
		return &agentproto.Error{Kind: agentproto.KindBusy, Message: fmt.Sprintf("%d programs run already", maxSessions)}
	}
	proc, failure := program.Start(a.reaper, p)
	if failure != nil {
		return failure
	}
	if a.stopping.Load() {
		_ = proc.Kill() // started beside killAll
	}
	s := a.sessions.add(proc, p, !detached)
	go a.guard(s.run)()
	if !detached {
		a.converse(s, ch)
		return nil
	}
	if err := ch.out.Started(agentproto.Started{PID: proc.PID, Session: s.id}); err != nil {
		return err // the host can look for the session in the list
	}
	return ch.ok()
}

// attach connects the host to a session that it left running.
func (a *agent) attach(ch *channel, spec []byte) error {
	q, err := agentproto.DecodeAttach(spec)
	if err != nil {
		return err
	}
	s, err := a.sessions.claim(q.Session)
	if err != nil {
		return err
	}
	a.converse(s, ch)
	return nil
}

// converse carries the streams of a session that was claimed for ch.
func (a *agent) converse(s *session, ch *channel) {
	err := s.serve(ch)
	switch {
	case errors.Is(err, errDetached):
		a.sessions.release(s, false)
		_ = ch.ok() // the host knows
	case err == nil:
		a.sessions.release(s, true)
		ch.linger(lingerTimeout)
	case s.detached: // it goes on, or its exit waits for somebody else
		a.sessions.release(s, false)
	default:
		_ = s.proc.Signal(int(unix.SIGKILL), true)
		<-s.done
		a.sessions.release(s, true)
	}
}
