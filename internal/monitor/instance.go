package monitor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/eventlog"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/state"
)

// resumeTime is how long it may take to undo a pause.
const resumeTime = 5 * time.Second

// errKilled ends a VM that somebody killed.
var errKilled = errors.New("the VM was killed")

// instance is the VM as its control socket sees it: its state, and what can be done
// to it.
type instance struct {
	spec    Spec
	dir     *state.Dir
	data    string // Holt's data directory
	log     *slog.Logger
	program *program
	stops   chan time.Duration      // see life
	kill    context.CancelCauseFunc // ends the VM at once
	ended   chan struct{}           // closed when status is final

	operation sync.Mutex // held by a pause or resume

	mu     sync.Mutex
	status state.Status
	alive  context.Context // ends when somebody kills the VM; once there is a machine
	vm     hypervisor.VM   // likewise
	asm    *assembly       // likewise
	dial   func(ctx context.Context, port uint32) (net.Conn, error)
	meter  *meter

	// base is the id of the snapshot that the files of guest memory are of, if they
	// are of one. Whoever has the operation lock may use it.
	base string
}

func newInstance(spec Spec, p *program, kill context.CancelCauseFunc, env Env) *instance {
	return &instance{
		spec:    spec,
		dir:     &state.Dir{Path: spec.Dir, Record: state.Record{ID: spec.ID, Name: spec.Name, Kept: spec.Kept}},
		data:    env.Dirs.Data,
		log:     env.Log,
		program: p,
		stops:   make(chan time.Duration, 1),
		kill:    kill,
		ended:   make(chan struct{}),
		status:  state.Status{State: state.Starting, Monitor: os.Getpid(), Run: rand.Text()},
		base:    spec.base(),
	}
}

// begin notes that the VM is starting: one that others took for stopped must not run.
func (i *instance) begin() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.dir.SetStatus(i.status)
}

// enter notes the VM's new state, unless it is coming to its end meanwhile.
func (i *instance) enter(s state.State) (entered bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.status.State == state.Stopped || i.status.State == state.Stopping && s != state.Stopping {
		return false
	}
	i.status.State = s
	i.write()
	return true
}

// write writes the status. The lock must be held.
func (i *instance) write() {
	if err := i.dir.SetStatus(i.status); err != nil {
		i.log.Error("the VM's state cannot be written", "error", err)
	}
}

// state is the VM's state now.
func (i *instance) state() state.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status.State
}

// check says whether an operation is legal now.
func (i *instance) check(op state.Operation) error {
	s := i.state()
	if s.Allows(op) {
		return nil // without asking for the name, which is in a file
	}
	return s.Check(op, cmp.Or(i.name(), i.spec.ID))
}

// starts notes the machine, as soon as there is one. alive ends when somebody kills it.
func (i *instance) starts(alive context.Context, backend string, vm hypervisor.VM, asm *assembly, dial func(context.Context, uint32) (net.Conn, error), m *meter) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.alive, i.vm, i.asm, i.dial, i.meter = alive, vm, asm, dial, m
	i.status.Backend = backend
}

// backend is the name of the VM's hypervisor.
func (i *instance) backend() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status.Backend
}

// runs notes that the main program runs.
func (i *instance) runs() {
	i.mu.Lock()
	i.status.Started = time.Now().UTC()
	i.mu.Unlock()
	i.enter(state.Running)
}

// machine returns the machine, of a VM that is in the state for an operation.
func (i *instance) machine(op state.Operation) (hypervisor.VM, error) {
	if err := i.check(op); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.vm, nil
}

// turn waits until no other operation goes on. The caller calls done in the end. It is an
// error that who asked has gone meanwhile.
func (i *instance) turn(ctx context.Context) (done func(), err error) {
	i.operation.Lock()
	if ctx.Err() != nil {
		i.operation.Unlock()
		return nil, context.Cause(ctx)
	}
	return i.operation.Unlock, nil
}

func (i *instance) pause(ctx context.Context) error {
	done, err := i.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	vm, err := i.machine(state.Pause)
	if err != nil {
		return err
	}
	if err = vm.Pause(ctx); err == nil && i.enter(state.Paused) {
		return nil
	}
	// Somebody asked the guest to end meanwhile, and a paused one could not hear it; or
	// who asked for the pause went away in the middle of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumeTime)
	defer cancel()
	_ = vm.Resume(ctx)
	return cmp.Or(err, i.check(state.Pause))
}

func (i *instance) resume(ctx context.Context) error {
	done, err := i.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	vm, err := i.machine(state.Resume)
	if err != nil {
		return err
	}
	if err := vm.Resume(ctx); err != nil {
		return err
	}
	i.enter(state.Running)
	return nil
}

// stop asks the guest to end, with so much time between SIGTERM and SIGKILL.
func (i *instance) stop(grace time.Duration) error {
	if err := i.check(state.Stop); err != nil {
		return err
	}
	i.mu.Lock()
	early := i.vm == nil
	i.mu.Unlock()
	if early {
		i.kill(errStoppedEarly)
		return nil
	}
	i.enter(state.Stopping)
	select {
	case i.stops <- grace:
	default: // so many requests wait already
	}
	return nil
}

// signal sends a signal to the main program.
func (i *instance) signal(n int) error {
	if err := i.check(state.Signal); err != nil {
		return err
	}
	return i.program.signal(n)
}

// toAgent opens a connection to the agent's service port.
func (i *instance) toAgent(ctx context.Context) (net.Conn, error) {
	if err := i.check(state.Use); err != nil {
		return nil, err
	}
	i.mu.Lock()
	dial := i.dial
	i.mu.Unlock()
	return dial(ctx, agentproto.ServicePort)
}

// finish notes how the VM ended: by its main program's exit, or with an error.
func (i *instance) finish(last agentproto.Frame, err error) {
	end := ending(last, err)
	i.mu.Lock()
	i.status.State, i.status.Finished, i.status.End = state.Stopped, time.Now().UTC(), &end
	i.write()
	i.mu.Unlock()
	i.note(end)
	close(i.ended)
}

// name is the VM's name now: somebody may have renamed it.
func (i *instance) name() string {
	if dir, err := state.Load(i.spec.Dir); err == nil {
		return dir.Record.Name
	}
	return i.spec.Name
}

// note tells the log of events about the end.
func (i *instance) note(end state.End) {
	e := eventlog.Event{Action: eventlog.Die, ID: i.spec.ID, Name: i.name(), Attributes: map[string]string{}}
	switch {
	case end.Error != "":
		e.Attributes["error"] = end.Error
	case end.Signal != 0:
		e.Attributes["signal"] = strconv.Itoa(end.Signal)
	default:
		e.Attributes["exit"] = strconv.Itoa(end.Code)
	}
	if err := eventlog.Append(i.data, e); err != nil {
		i.log.Warn("the VM's end is not in the log of events", "error", err)
	}
}

// ending is how a VM ended whose agent's last frame, or whose error, is this.
func ending(last agentproto.Frame, err error) state.End {
	if errors.Is(err, errKilled) {
		return state.End{Signal: int(unix.SIGKILL), Killed: true}
	}
	if err == nil && last.Type == agentproto.TypeExit {
		var exit agentproto.Exit
		if exit, err = agentproto.DecodeExit(last.Payload); err == nil {
			return state.End{Code: exit.Code, Signal: exit.Signal, Core: exit.Core}
		}
	}
	if err == nil {
		var reported *agentproto.Error
		if reported, err = agentproto.DecodeError(last.Payload); err == nil {
			reported.Message = agentproto.Printable(reported.Message, agentproto.MaxMessage)
			err = reported
		}
	}
	end := state.End{Error: err.Error(), Killed: errors.Is(err, errClientGone) || errors.Is(err, errStoppedEarly)}
	if death, ok := errors.AsType[*deathError](err); ok {
		end.Error, end.Died, end.Console = death.err.Error(), true, death.console
	}
	if reported, ok := errors.AsType[*agentproto.Error](err); ok {
		end.Kind = string(reported.Kind)
	}
	return end
}
