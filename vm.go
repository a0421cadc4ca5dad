package holt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/state"
)

// VM is one microVM around one program.
//
// One that [New] or [Builder.Build] made is shaped like [os/exec.Cmd]: set the
// streams, Start, Wait. It runs once, it ends with this process, and nothing of it
// stays. One that [Create] made is kept: it has a name, it lives on when this process
// ends, it can be started again, and other processes find it with [Open].
type VM struct {
	// Stdin is the program's standard input. Nil is /dev/null.
	Stdin io.Reader
	// Stdout and Stderr get the program's output. Nil throws it away. A writer
	// that blocks makes the program block.
	Stdout, Stderr io.Writer
	// Terminal gives the program a terminal of this size; all its output then
	// goes to Stdout. Nil gives it pipes. Whether a kept VM's program has a terminal
	// was decided by Create.
	Terminal *WindowSize
	// Log gets Holt's own log at the Config's log level. Nil is os.Stderr. The log of
	// a VM that is kept goes to its directory.
	Log io.Writer

	config  Config
	options options
	origin  *origin // what the next start goes on from; nil boots
	broken  error   // what is the matter with the configuration of a VM that was opened

	mu      sync.Mutex
	started bool
	dir     *state.Dir           // once there is one
	monitor monitorHandle        // of a VM that ends with this process
	session *agentclient.Session // with the program's streams, while connected
}

// WindowSize is a terminal's size in characters.
type WindowSize struct{ Rows, Cols uint16 }

// StopGrace is how long programs get between SIGTERM and SIGKILL in [VM.Stop].
const StopGrace = 10 * time.Second

// Build checks the configuration and returns a VM that is ready and not
// running. The error joins every bad argument and every problem of the whole.
func (b *Builder) Build(opts ...Option) (*VM, error) {
	cfg, err := b.Config()
	if err != nil {
		return nil, err
	}
	return New(cfg, opts...)
}

// New returns a VM that is ready and not running. It fails when cfg is not
// valid, or when there is no holt binary to run the VM (ErrHoltNotFound).
func New(cfg Config, opts ...Option) (*VM, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o, err := collect(opts)
	if err == nil {
		err = o.findBinary()
	}
	if err != nil {
		return nil, err
	}
	cfg, err = cfg.absolute()
	if err != nil {
		return nil, err
	}
	return &VM{config: cfg, options: o}, nil
}

func collect(opts []Option) (options, error) {
	o := options{backend: "auto"}
	for _, set := range opts {
		set(&o)
	}
	if o.name != "" {
		if err := state.CheckName(o.name); err != nil {
			return o, err
		}
	}
	return o, nil
}

// findBinary finds the holt binary that runs monitors, unless they run in this process.
func (o *options) findBinary() error {
	if o.inProcess {
		return nil
	}
	if o.binary == "" {
		path, err := findHolt()
		if err != nil {
			return err
		}
		o.binary = path
	}
	var err error
	o.binary, err = filepath.Abs(o.binary) // a monitor may have another working directory
	return err
}

// Config returns the VM's configuration.
func (vm *VM) Config() Config { return vm.config.clone() }

// Run is Start and Wait. When ctx ends first, the VM is killed and Run returns
// the context's error.
func (vm *VM) Run(ctx context.Context) error {
	if err := vm.Start(ctx); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = vm.Kill() })()
	err := vm.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Signal sends a signal to the program, as kill(2) in the guest would.
func (vm *VM) Signal(sig syscall.Signal) error {
	if session := vm.attached(); session != nil {
		return session.Signal(int(sig))
	}
	_, err := vm.noted(context.Background(), eventKill, control.PathSignal, control.ParamSignal, strconv.Itoa(int(sig)))
	return err
}

// Resize sets the size of the program's terminal, in characters. It needs the
// program's streams, see [VM.Attach].
func (vm *VM) Resize(size WindowSize) error {
	session := vm.attached()
	if session == nil {
		return ErrNotRunning
	}
	return session.Resize(size.Rows, size.Cols)
}

// Pause stops the guest's processors and devices where they are; once it returns,
// nothing of the VM runs. The guest's clocks go on: after [VM.Resume] they agree
// with the host's. A VM that is not running, paused ones included, is a *StateError.
func (vm *VM) Pause(ctx context.Context) error {
	_, err := vm.noted(ctx, eventPause, control.PathPause)
	return err
}

// Resume lets a paused VM go on. A VM that is not paused is a *StateError.
func (vm *VM) Resume(ctx context.Context) error {
	_, err := vm.noted(ctx, eventResume, control.PathResume)
	return err
}

// Stop is [VM.Shutdown] with StopGrace.
func (vm *VM) Stop(ctx context.Context) error { return vm.Shutdown(ctx, StopGrace) }

// Shutdown asks the guest to end: its programs get SIGTERM and, after grace (an hour at
// most), SIGKILL, then it powers off; the power button is pressed for an agent that does not answer. A
// paused VM goes on for that. Shutdown returns when the VM is gone. When ctx ends first
// the VM is killed and Shutdown returns the context's error. Wait tells how the program
// ended.
func (vm *VM) Shutdown(ctx context.Context, grace time.Duration) error {
	ms := strconv.FormatInt(min(max(grace.Milliseconds(), 0), agentproto.MaxGraceMS), 10)
	run, err := vm.noted(ctx, eventStop, control.PathStop, control.ParamGrace, ms)
	if err != nil {
		return err
	}
	if err := vm.awaitGone(ctx, run); err != nil {
		if ctx.Err() == nil {
			return err
		}
		_ = vm.Kill()
		return fmt.Errorf("stop the VM: %w", context.Cause(ctx))
	}
	return nil
}

// Kill ends the VM at once and returns when nothing of it is left.
func (vm *VM) Kill() error {
	ctx := context.Background()
	vm.mu.Lock()
	monitor := vm.monitor
	vm.mu.Unlock()
	if monitor != nil {
		monitor.kill()
		_, _ = monitor.wait() // that it was killed is no news
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	run, err := vm.noted(ask, eventKill, control.PathKill)
	if errors.Is(err, context.DeadlineExceeded) {
		return vm.killMonitor(ctx)
	}
	if err != nil {
		return err
	}
	return vm.awaitGone(ctx, run)
}

// killMonitor kills a monitor that does not answer, and with it the VM.
func (vm *VM) killMonitor(ctx context.Context) error {
	vm.mu.Lock()
	dir := vm.dir
	vm.mu.Unlock()
	s, err := dir.Status()
	if err != nil || !s.State.Live() {
		return notFound(err) // it has ended meanwhile
	}
	if !dir.HeldBy(s.Monitor) {
		return fmt.Errorf("the monitor of VM %s does not answer, and process %d is not it", dir.Record.Label(), s.Monitor)
	}
	if err := syscall.Kill(s.Monitor, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the monitor of VM %s: %w", dir.Record.Label(), err)
	}
	return vm.awaitGone(ctx, s.Run)
}

// attached is the connection with the program's streams, or nil.
func (vm *VM) attached() *agentclient.Session {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.session
}

// client speaks to the VM's monitor.
func (vm *VM) client() (*control.Client, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.dir == nil {
		return nil, ErrNotRunning
	}
	return control.NewClient(vm.dir.Path), nil
}

// do carries out an operation of the control socket. It returns the run of the VM that
// it was done to.
func (vm *VM) do(ctx context.Context, path string, params ...string) (run string, err error) {
	c, err := vm.client()
	if err != nil {
		return "", err
	}
	run, err = c.Do(ctx, path, params...)
	return run, vm.refused(path, err)
}

// operations are what an operation of the control socket is called.
var operations = map[string]state.Operation{
	control.PathPause: state.Pause, control.PathResume: state.Resume, control.PathStop: state.Stop,
	control.PathKill: state.Kill, control.PathSignal: state.Signal, control.PathAttach: state.Attach,
	control.PathSnapshot: state.Snapshot, control.PathWorkingSet: state.Snapshot, control.PathFork: state.Fork,
	control.PathAgent: state.Use, control.PathWait: state.Wait, control.PathStats: state.Measure,
}

// overtaken is how long an operation that failed for an unknown reason waits for the
// VM's end, which may be that reason.
const overtaken = 500 * time.Millisecond

// refused turns the monitor's refusal, or its absence, into a *StateError if the VM's
// state is why.
func (vm *VM) refused(path string, err error) error {
	refusal, ok := errors.AsType[*control.RefusedError](err)
	if !ok && !errors.Is(err, control.ErrGone) {
		return err
	}
	if ok && refusal.State != "" {
		return vm.stateError(operations[path], state.State(refusal.State))
	}
	s, serr := vm.status()
	for end := time.Now().Add(overtaken); serr == nil && s.State.Allows(operations[path]) && time.Now().Before(end); s, serr = vm.status() {
		time.Sleep(10 * time.Millisecond)
	}
	switch {
	case errors.Is(serr, ErrNotFound), serr != nil && !ok:
		return ErrNotRunning // and gone
	case serr == nil && !s.State.Allows(operations[path]):
		return vm.stateError(operations[path], s.State)
	case ok:
		return errors.New(refusal.Reason)
	}
	// Between two states: the monitor goes, or does not listen yet.
	return fmt.Errorf("%w: %w", ErrNotRunning, err)
}

// stateError says that the VM's state is not one for the operation.
func (vm *VM) stateError(op state.Operation, s state.State) error {
	return &StateError{Operation: string(op), VM: vm.Name(), State: State(s)}
}

// status is how far the VM got, as its directory says.
func (vm *VM) status() (state.Status, error) {
	vm.mu.Lock()
	dir := vm.dir
	vm.mu.Unlock()
	if dir == nil {
		return state.Status{State: state.Created}, nil
	}
	s, err := dir.Status()
	return s, notFound(err)
}

// noted is do, and notes the operation.
func (vm *VM) noted(ctx context.Context, action string, path string, params ...string) (run string, err error) {
	if run, err = vm.do(ctx, path, params...); err != nil {
		return "", err
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	note(action, vm.dir.Record, params...)
	return run, nil
}

// agent opens a connection to the service port of the guest's agent, for one
// operation. The error of an operation on it goes through lost.
func (vm *VM) agent(ctx context.Context) (net.Conn, error) {
	c, err := vm.client()
	if err != nil {
		return nil, err
	}
	conn, err := c.Upgrade(ctx, control.PathAgent)
	if err != nil {
		return nil, vm.refused(control.PathAgent, err)
	}
	return conn, nil
}
