package holt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/control"
)

// VM is one microVM around one program. It is shaped like [os/exec.Cmd]: set
// the streams, Start, Wait. A VM runs once.
type VM struct {
	// Stdin is the program's standard input. Nil is /dev/null.
	Stdin io.Reader
	// Stdout and Stderr get the program's output. Nil throws it away. A writer
	// that blocks makes the program block.
	Stdout, Stderr io.Writer
	// Terminal gives the program a terminal of this size; all its output then
	// goes to Stdout. Nil gives it pipes.
	Terminal *WindowSize
	// Log gets Holt's own log at the Config's log level. Nil is os.Stderr.
	Log io.Writer

	config  Config
	options options

	mu      sync.Mutex
	started bool
	monitor monitorHandle
	session *agentclient.Session
}

// WindowSize is a terminal's size in characters.
type WindowSize struct{ Rows, Cols uint16 }

// monitorHandle is a VM's monitor, wherever it runs.
type monitorHandle interface {
	// stop asks the guest to end its programs and power off.
	stop()
	// kill ends the VM at once.
	kill()
	// Do carries out an operation of the control socket.
	Do(ctx context.Context, operation string) error
	// wait returns when nothing of the VM is left, with what is to be known
	// about a monitor that did not end well.
	wait() error
}

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
	o := options{backend: "auto"}
	for _, set := range opts {
		set(&o)
	}
	if !o.inProcess && o.binary == "" {
		path, err := findHolt()
		if err != nil {
			return nil, err
		}
		o.binary = path
	}
	cfg, err := cfg.absolute()
	if err != nil {
		return nil, err
	}
	return &VM{config: cfg, options: o}, nil
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

// Start boots the guest and returns when the program runs in it. ctx bounds the
// start alone. On error nothing of the VM is left; ErrProgramNotFound and
// ErrProgramNotExecutable say that the guest was fine and the program not.
func (vm *VM) Start(ctx context.Context) error {
	vm.mu.Lock()
	again := vm.started
	vm.started = true
	vm.mu.Unlock()
	if again {
		return ErrStarted
	}
	spec, err := vm.spec()
	if err != nil {
		return err
	}
	monitor, conn, err := vm.startMonitor(spec)
	if err != nil {
		return err
	}
	session, err := agentclient.Attach(ctx, conn, spec.Program, agentclient.Output{Stdout: vm.Stdout, Stderr: vm.Stderr})
	if err != nil {
		if ctx.Err() != nil {
			monitor.kill()
		}
		conn.Close()
		return lostMonitor(fromAgent(err), monitor.wait())
	}
	vm.mu.Lock()
	vm.monitor, vm.session = monitor, session
	vm.mu.Unlock()
	if vm.Stdin != nil {
		go vm.copyStdin(session)
	}
	return nil
}

func (vm *VM) startMonitor(spec monitorSpec) (monitorHandle, net.Conn, error) {
	log := vm.Log
	if log == nil {
		log = os.Stderr
	}
	if vm.options.inProcess {
		return startInProcess(spec, log)
	}
	return startProcess(vm.options.binary, spec, log)
}

// copyStdin does not outlive the session for longer than a Read of Stdin
// blocks, which nobody can interrupt.
func (vm *VM) copyStdin(session *agentclient.Session) {
	_, _ = io.Copy(session.Stdin(), vm.Stdin) // a program that reads no more is no error
	_ = session.Stdin().Close()
}

// Wait waits for the program and for the whole VM to end. It returns nil when
// the program exited with status 0, an *ExitError when it ended in another way,
// and any other error when the VM failed.
func (vm *VM) Wait() error {
	monitor, session := vm.running()
	if session == nil {
		return ErrNotRunning
	}
	exit, err := session.Wait()
	died := monitor.wait()
	switch {
	case err != nil:
		return lostMonitor(fromAgent(err), died)
	case exit.Code != 0 || exit.Signal != 0:
		return &ExitError{Code: exit.Code, Signal: syscall.Signal(exit.Signal), CoreDump: exit.Core}
	}
	return nil
}

// lostMonitor prefers what is known about a monitor that died to the mere fact
// that its connection broke.
func lostMonitor(err, died error) error {
	if errors.Is(err, agentclient.ErrLost) && died != nil {
		return died
	}
	return err
}

// Signal sends a signal to the program, as kill(2) in the guest would.
func (vm *VM) Signal(sig syscall.Signal) error {
	_, session := vm.running()
	if session == nil {
		return ErrNotRunning
	}
	return session.Signal(int(sig))
}

// Resize sets the size of the program's terminal, in characters.
func (vm *VM) Resize(size WindowSize) error {
	_, session := vm.running()
	if session == nil {
		return ErrNotRunning
	}
	return session.Resize(size.Rows, size.Cols)
}

// Pause stops the guest's processors and devices where they are; once it returns,
// nothing of the VM runs. The guest's clocks go on: after [VM.Resume] they agree
// with the host's. Pausing a paused VM changes nothing.
func (vm *VM) Pause(ctx context.Context) error { return vm.control(ctx, control.PathPause) }

// Resume lets a paused VM go on. A VM that is not paused is left as it is.
func (vm *VM) Resume(ctx context.Context) error { return vm.control(ctx, control.PathResume) }

func (vm *VM) control(ctx context.Context, operation string) error {
	monitor, _ := vm.running()
	if monitor == nil {
		return ErrNotRunning
	}
	err := monitor.Do(ctx, operation)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning // any more
	}
	return err
}

// Stop asks the guest to end: its programs get SIGTERM and, ten seconds later,
// SIGKILL, then it powers off. A paused VM goes on for that. Stop returns when the
// VM is gone. When ctx ends first the VM is killed and Stop returns the context's
// error. Wait tells how the program ended.
func (vm *VM) Stop(ctx context.Context) error {
	monitor, _ := vm.running()
	if monitor == nil {
		return ErrNotRunning
	}
	monitor.stop()
	gone := make(chan struct{})
	go func() {
		_ = monitor.wait() // Wait reports it
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		_ = vm.Kill()
		return fmt.Errorf("stop the VM: %w", context.Cause(ctx))
	}
}

// Kill ends the VM at once and returns when nothing of it is left.
func (vm *VM) Kill() error {
	monitor, session := vm.running()
	if monitor == nil {
		return ErrNotRunning
	}
	monitor.kill()
	_ = session.Close()
	_ = monitor.wait() // that it was killed is no news
	return nil
}

func (vm *VM) running() (monitorHandle, *agentclient.Session) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.monitor, vm.session
}
