package holt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// monitorHandle is a monitor that this process started, wherever it runs.
type monitorHandle interface {
	// kill ends the VM at once.
	kill()
	// wait returns when nothing of the VM is left, with how it ended, and with what
	// is to be known about a monitor that did not end well.
	wait() (state.End, error)
}

// Start boots the guest and returns when the program runs in it. ctx bounds the
// start alone. On error nothing of the VM runs; ErrProgramNotFound and
// ErrProgramNotExecutable say that the guest was fine and the program not.
//
// A VM that is kept goes on without this process. If Stdin, Stdout or Stderr is set,
// Start connects them as [VM.Attach] does, from the program's first byte on.
func (vm *VM) Start(ctx context.Context) error {
	dir, err := vm.takeCharge(ctx)
	if err != nil {
		return err
	}
	if err := vm.warmUp(ctx); err != nil {
		abandon(dir)
		return err
	}
	spec, err := vm.spec(dir)
	if err != nil {
		abandon(dir)
		return err
	}
	handle, conn, err := vm.startMonitor(spec, dir)
	if err != nil {
		abandon(dir)
		return err
	}
	note(eventStart, dir.Record)
	session, err := agentclient.Attach(ctx, conn, spec.Program, agentclient.Output{Stdout: vm.Stdout, Stderr: vm.Stderr})
	if err != nil {
		vm.keepOrigin(err, dir.Record.Kept)
		return vm.failStart(ctx, err, dir.Record.Kept, handle, conn)
	}
	vm.leaveOrigin() // it goes on, and boots the next time
	vm.mu.Lock()
	vm.session = session
	if !dir.Record.Kept {
		vm.monitor = handle
	}
	vm.mu.Unlock()
	if dir.Record.Kept {
		go func() { _, _ = handle.wait() }() // Wait tells
	}
	if dir.Record.Kept && vm.Stdin == nil && vm.Stdout == nil && vm.Stderr == nil {
		return vm.Detach()
	}
	if vm.Stdin != nil {
		go vm.copyStdin(session)
	}
	return nil
}

// leaveOrigin closes what the VM goes on from, which its monitor has, too.
func (vm *VM) leaveOrigin() {
	if vm.origin != nil {
		vm.origin.close()
		vm.origin = nil
	}
}

// keepOrigin keeps what the VM was to go on from for another try, if there can be one, and
// if not the origin is why there is no VM.
func (vm *VM) keepOrigin(err error, kept bool) {
	o := vm.origin
	spoiled := o != nil && o.discard != nil && errors.Is(err, agentclient.ErrLost)
	if spoiled {
		o.discard()
	}
	if spoiled || !kept {
		vm.leaveOrigin()
	}
}

// failStart says why there is no program, when all is cleaned up.
func (vm *VM) failStart(ctx context.Context, err error, kept bool, handle monitorHandle, conn net.Conn) error {
	_, told := errors.AsType[*agentproto.Error](err)
	if !told && !errors.Is(err, agentclient.ErrLost) { // ctx has ended, or the guest talks nonsense
		if c, cerr := vm.client(); cerr == nil && kept {
			// One that is kept does not go with the connection. A monitor that does
			// not listen is killed.
			ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
			defer cancel()
			_, _ = c.Do(ask, control.PathKill)
		}
		handle.kill()
	}
	conn.Close()
	end, died := handle.wait()
	return ended(err, end, died)
}

// takeCharge returns the VM's directory with its lock held, of a VM that may be
// started.
func (vm *VM) takeCharge(ctx context.Context) (*state.Dir, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.broken != nil {
		return nil, vm.broken
	}
	if vm.dir != nil && vm.dir.Record.Kept {
		dir := *vm.dir
		return &dir, vm.lock(ctx, &dir, state.Start)
	}
	if vm.started {
		return nil, ErrStarted
	}
	vm.started = true
	config, err := json.Marshal(vm.config)
	if err != nil {
		return nil, err
	}
	stdin, terminal := vm.Stdin != nil, vm.Terminal
	if vm.origin != nil && vm.origin.program { // which has what it was started with
		stdin, terminal = vm.options.stdin, vm.options.terminal
	}
	launch, err := json.Marshal(vm.options.record(stdin, terminal))
	if err != nil {
		return nil, err
	}
	store, err := openStore()
	if err != nil {
		return nil, err
	}
	dir, err := store.Create(ctx, state.Record{Name: vm.options.name, Config: config, Options: launch})
	if err != nil {
		return nil, taken(err)
	}
	vm.dir = &state.Dir{Path: dir.Path, Record: dir.Record}
	return dir, nil
}

// lock puts this process in charge of a VM that is in the state for an operation. It
// waits for a monitor that is about to leave.
func (vm *VM) lock(ctx context.Context, dir *state.Dir, op state.Operation) error {
	for {
		err := dir.TryLock()
		if err != nil && !errors.Is(err, state.ErrBusy) {
			return notFound(err)
		}
		s, serr := dir.Status()
		if errors.Is(serr, state.ErrNotFound) {
			return notFound(serr)
		}
		if err == nil {
			if serr == nil && !s.State.Allows(op) {
				serr = &StateError{Operation: string(op), VM: dir.Record.Label(), State: State(s.State)}
			}
			if serr != nil {
				dir.Unlock()
			}
			return serr
		}
		if serr == nil && s.State.Live() {
			return &StateError{Operation: string(op), VM: dir.Record.Label(), State: State(s.State)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// abandon gives up a start that did not come to a monitor.
func abandon(dir *state.Dir) {
	if dir.Record.Kept {
		dir.Unlock()
		return
	}
	_ = dir.Remove()
}

func openStore() (*state.Store, error) {
	dirs, err := paths.Default()
	if err != nil {
		return nil, err
	}
	if err := dirs.MakeRuntime(); err != nil {
		return nil, err
	}
	return state.Open(dirs), nil
}

func (vm *VM) startMonitor(spec monitorSpec, dir *state.Dir) (monitorHandle, net.Conn, error) {
	var log io.Writer = os.Stderr
	switch {
	case dir.Record.Kept:
		f, err := os.OpenFile(filepath.Join(dir.Path, state.MonitorLog), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("start the monitor: %w", err)
		}
		if !vm.options.inProcess {
			defer f.Close()
		}
		log = f
	case vm.Log != nil:
		log = vm.Log
	}
	var files *monitor.OriginFiles
	if vm.origin != nil {
		files = vm.origin.files
	}
	if vm.options.inProcess {
		return startInProcess(spec, files, dir, log)
	}
	if err := vm.options.findBinary(); err != nil {
		return nil, nil, err
	}
	return startProcess(vm.options.binary, spec, files, dir, log)
}

// copyStdin does not outlive the session for longer than a Read of Stdin
// blocks, which nobody can interrupt.
func (vm *VM) copyStdin(session *agentclient.Session) {
	_, _ = io.Copy(session.Stdin(), vm.Stdin) // a program that reads no more is no error
	_ = session.Stdin().Close()
}

// Attach connects Stdin, Stdout and Stderr with the program of a running VM, from now
// on. Any number of processes may be connected at once; one of them, with Stdin set,
// is the program's input. One that does not read holds the program's output back, and
// after 30 seconds it is let go.
func (vm *VM) Attach(ctx context.Context) error {
	c, err := vm.client()
	if err != nil {
		return err
	}
	params := []string{}
	if vm.Stdin != nil {
		params = append(params, control.ParamStdin, "1")
	}
	conn, err := c.Upgrade(ctx, control.PathAttach, params...)
	if err != nil {
		return vm.refused(control.PathAttach, err)
	}
	session, err := agentclient.Attach(ctx, conn, agentproto.Program{Stdin: vm.Stdin != nil}, agentclient.Output{Stdout: vm.Stdout, Stderr: vm.Stderr})
	if err != nil {
		return vm.lost(ctx, err)
	}
	vm.mu.Lock()
	vm.session = session
	vm.mu.Unlock()
	if vm.Terminal != nil {
		_ = session.Resize(vm.Terminal.Rows, vm.Terminal.Cols) // it may have ended
	}
	if vm.Stdin != nil {
		go vm.copyStdin(session)
	}
	return nil
}

// Detach takes the streams back from the program of a VM that is kept, which goes on.
// A Wait that waits returns ErrDetached.
func (vm *VM) Detach() error {
	vm.mu.Lock()
	session := vm.session
	if vm.monitor != nil || session == nil {
		vm.mu.Unlock()
		return errors.New("only a VM that is kept and attached can be detached")
	}
	vm.session = nil
	vm.mu.Unlock()
	return session.Close()
}
