package agent

import (
	"errors"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentproto"
)

// renewTimeout is how long the exit of the main program waits for a connection, if that
// which it had was reset. One that is there takes no longer than lingerTimeout.
const renewTimeout = 2 * lingerTimeout

// mainProgram is the main program, as soon as there is one, and the connection that
// carries its streams: that of the boot and, in a clone, that of the last renewal.
type mainProgram struct {
	begun chan struct{} // closed when there is a program
	over  chan struct{} // closed when the guest may power off
	end   sync.Once
	err   error // why that is early. Set before over is closed

	serving sync.Mutex // held by the connection that carries the streams

	mu      sync.Mutex
	stream  *stream
	renewal *agentproto.Program // what a renewal asked for, if one started the program
	ch      *channel            // the connection that came last
}

func newMainProgram() *mainProgram {
	return &mainProgram{begun: make(chan struct{}), over: make(chan struct{})}
}

// runMain runs the main program, if it is not held for a renewal, and returns when the
// host knows how it ended, or does not care.
func (a *agent) runMain(ch *channel, spec agentproto.BootSpec) error {
	if spec.Hold {
		go a.guard(func() { _ = ch.ok() })() // the host may be gone: a renewal comes anew
	} else {
		failure := a.startMain(spec.Program, nil)
		go a.guard(func() { a.carryMain(ch, failure) })()
	}
	go a.guard(func() { watchPowerButton("/dev/input", isPowerButton, func() { a.shutdown(signalGrace) }) })()
	return a.main.wait()
}

// startMain starts the main program. renewal is the one that asked for it, if any did.
func (a *agent) startMain(p agentproto.Program, renewal *agentproto.Program) *agentproto.Error {
	proc, failure := program.Start(a.reaper, p)
	if failure != nil {
		return failure
	}
	s := newStream(proc, agentproto.MainSession, p)
	// With everything killed the pipes end, so all output is sent.
	s.ended = func() {
		a.stopping.Store(true)
		killAll(unix.SIGKILL)
	}
	// The host may end the machine as soon as it has read the exit.
	s.flushed = settle
	s.idle = 5 * time.Second
	a.main.begin(s, renewal)
	go a.guard(s.run)()
	return nil
}

// carryMain has ch carry the main program, or say why there is none.
func (a *agent) carryMain(ch *channel, failure *agentproto.Error) {
	if failure == nil {
		a.main.carry(ch)
		return
	}
	ch.fail(failure)
	ch.linger(lingerTimeout)
	a.main.finish(nil)
}

func (m *mainProgram) begin(s *stream, renewal *agentproto.Program) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stream, m.renewal = s, renewal
	close(m.begun)
}

// get returns the program's stream, nil if there is none yet.
func (m *mainProgram) get() *stream {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stream
}

// allows says why a renewal cannot have p as the main program: there is one, and that
// was not started for the same renewal, which the host has repeated then.
func (m *mainProgram) allows(p *agentproto.Program) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p == nil || m.stream == nil || reflect.DeepEqual(p, m.renewal) {
		return nil
	}
	return &agentproto.Error{Kind: agentproto.KindProtocol, Message: "the main program was started already"}
}

// carry has ch carry the streams, in the place of the connection that did so before. A
// host that goes away gives the guest up; a connection that is reset leaves the program
// to the next one, and what it prints until then is kept as that of a detached session.
func (m *mainProgram) carry(ch *channel) {
	m.mu.Lock()
	s, before := m.stream, m.ch
	m.ch = ch
	m.mu.Unlock()
	if before != nil {
		before.abandon()
	}
	m.serving.Lock()
	defer m.serving.Unlock()
	err := s.serve(ch)
	switch {
	case errors.Is(err, errHostLost):
		return
	case err != nil:
		_ = s.proc.Kill() // it may have ended this moment
		<-s.done
	}
	if errors.Is(err, errHostGone) {
		err = nil
	}
	m.finish(err)
}

// finish lets the guest power off.
func (m *mainProgram) finish(err error) {
	m.end.Do(func() {
		m.err = err
		close(m.over)
	})
}

// cancel is finish for a guest that has no main program yet.
func (m *mainProgram) cancel() {
	if m.get() == nil {
		m.finish(nil)
	}
}

// wait returns when the guest may power off.
func (m *mainProgram) wait() error {
	select {
	case <-m.over:
		return m.err
	case <-m.begun:
	}
	select {
	case <-m.over:
		return m.err
	case <-m.get().done:
	}
	select {
	case <-m.over:
	case <-time.After(renewTimeout):
		m.finish(errHostLost)
	}
	return m.err
}
