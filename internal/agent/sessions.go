package agent

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// maxSessions is how many programs of exec run at once, with a connection or
	// without. Each takes a few descriptors and at most some hundred KiB.
	maxSessions = 512
	// maxEnded is how many are remembered that ended while nobody was connected.
	maxEnded = 64
	// maxArgv is how much of the arguments is listed, in bytes, and maxArgs how many.
	maxArgv, maxArgs = 4 << 10, 128
)

// session is a program of exec.
type session struct {
	*stream
	argv    []string
	user    string
	tty     bool
	started time.Time
	busy    bool // somebody is connected, or about to be. Under sessions.mu
}

// sessions are the programs of exec that run, and those that ended and that somebody
// may still ask for.
type sessions struct {
	mu   sync.Mutex
	last int        // the id that was given last
	all  []*session // in the order of their start
}

// add makes a session of a program that was started. busy says that there is somebody
// who will be connected to it.
func (t *sessions) add(proc *program.Process, spec agentproto.Program, busy bool) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	st := newStream(proc, strconv.Itoa(t.last), spec)
	st.idle, st.limit, st.detached = execIdle, execLimit, !busy
	s := &session{stream: st, argv: shortArgv(proc.Argv), user: spec.User, tty: spec.TTY, started: time.Now(), busy: busy}
	t.all = append(t.all, s)
	return s
}

// shortArgv is what is listed of a command line.
func shortArgv(argv []string) []string {
	left := maxArgv
	var short []string
	for _, arg := range argv[:min(len(argv), maxArgs)] {
		arg = agentproto.Printable(arg, left)
		short = append(short, arg)
		if left -= len(arg); left <= 0 {
			break
		}
	}
	return short
}

// claim returns a session for a connection that will carry its streams.
func (t *sessions) claim(id string) (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.find(id)
	switch {
	case s == nil:
		return nil, noSession(id)
	case s.busy:
		return nil, &agentproto.Error{Kind: agentproto.KindBusy, Message: fmt.Sprintf("session %s has a connection already", id)}
	}
	s.busy = true
	return s, nil
}

// release ends what claim began. With forget the session is gone.
func (t *sessions) release(s *session, forget bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.busy = false
	if forget {
		t.all = slices.DeleteFunc(t.all, func(o *session) bool { return o == s })
	}
}

// get returns the program of a session.
func (t *sessions) get(id string) (*program.Process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.find(id); s != nil {
		return s.proc, nil
	}
	return nil, noSession(id)
}

// find is called with mu held.
func (t *sessions) find(id string) *session {
	i := slices.IndexFunc(t.all, func(s *session) bool { return s.id == id })
	if i < 0 {
		return nil
	}
	return t.all[i]
}

func noSession(id string) error {
	return &agentproto.Error{Kind: agentproto.KindNotFound, Message: fmt.Sprintf("there is no session %s in the guest", id)}
}

// running is the number of programs that run.
func (t *sessions) running() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := t.forgetOld() // changes all
	return len(t.all) - len(ended)
}

// list describes every session.
func (t *sessions) list() []agentproto.Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgetOld()
	list := make([]agentproto.Session, len(t.all))
	for i, s := range t.all {
		list[i] = agentproto.Session{
			ID: s.id, PID: s.proc.PID, Argv: s.argv, User: s.user, TTY: s.tty,
			Attached: s.busy, Running: !s.isOver(), StartedNS: s.started.UnixNano(),
		}
		if !list[i].Running {
			exit := s.exit
			list[i].Exit = &exit
		}
	}
	return list
}

// isOver reports whether exit is set for good.
func (s *session) isOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// forgetOld forgets the sessions that ended first until maxEnded are left, and
// returns those. It is called with mu held.
func (t *sessions) forgetOld() []*session {
	var ended []*session
	for _, s := range t.all {
		if s.isOver() && !s.busy {
			ended = append(ended, s)
		}
	}
	if len(ended) <= maxEnded {
		return ended
	}
	slices.SortFunc(ended, func(a, b *session) int { return a.endedAt.Compare(b.endedAt) })
	old := ended[:len(ended)-maxEnded]
	t.all = slices.DeleteFunc(t.all, func(s *session) bool { return slices.Contains(old, s) })
	return ended[len(old):]
}

// signal signals the program of a session, or the main program.
func (a *agent) signal(ch *channel, spec []byte) error {
	q, err := agentproto.DecodeSessionSignal(spec)
	if err != nil {
		return err
	}
	var proc *program.Process
	if q.Session != agentproto.MainSession {
		proc, err = a.sessions.get(q.Session)
	} else if s := a.main.get(); s != nil {
		proc = s.proc
	} else {
		err = noSession(q.Session) // so early, or it is held
	}
	if err != nil {
		return err
	}
	err = proc.Signal(q.Signal, q.Group)
	if errors.Is(err, unix.ESRCH) {
		return &agentproto.Error{Kind: agentproto.KindNotFound, Message: fmt.Sprintf("the program of session %s has ended", q.Session)}
	}
	if err != nil {
		return fmt.Errorf("signal session %s: %w", q.Session, err)
	}
	return ch.ok()
}
