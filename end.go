package holt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/state"
)

// Wait is [VM.WaitContext] without a context.
func (vm *VM) Wait() error { return vm.WaitContext(context.Background()) }

// WaitContext waits for the program and for the whole VM to end. It returns nil when
// the program exited with status 0, an *ExitError when it ended in another way, a
// *GuestError when the VM ended without that, and ctx's error when ctx ends first. Of
// a VM that has ended it tells the last end.
func (vm *VM) WaitContext(ctx context.Context) error {
	vm.mu.Lock()
	handle, session := vm.monitor, vm.session
	vm.mu.Unlock()
	if session != nil {
		select {
		case <-session.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if handle != nil {
		exit, err := session.Wait()
		end, died := handle.wait()
		if err == nil {
			return exitError(exit)
		}
		return ended(err, end, died)
	}
	if session != nil && vm.attached() != session {
		return ErrDetached
	}
	var told error
	if session != nil {
		exit, err := session.Wait()
		if err == nil { // the VM is over, and perhaps removed or started again
			return cmp.Or(vm.awaitLeft(ctx), exitError(exit))
		}
		reported, ok := errors.AsType[*agentproto.Error](err)
		switch {
		case ok:
			told = endError(state.End{Error: reported.Message, Kind: string(reported.Kind)})
		case !errors.Is(err, agentclient.ErrLost):
			return err // an output writer's error is the caller's own
		}
	}
	end, err := vm.awaitEnd(ctx)
	if err != nil && told != nil && ctx.Err() == nil {
		return told // it was removed at once
	}
	if err != nil {
		return err
	}
	return endError(end)
}

// awaitLeft waits until the monitor of a VM that has ended is gone.
func (vm *VM) awaitLeft(ctx context.Context) error {
	s, err := vm.status()
	if errors.Is(err, ErrNotFound) || err == nil && s.State.Live() {
		return nil
	}
	return cmp.Or(err, vm.awaitFree(ctx, s.Run))
}

// awaitEnd waits until the VM has ended and nobody is in charge of it, and returns how
// it ended.
func (vm *VM) awaitEnd(ctx context.Context) (end state.End, err error) {
	c, err := vm.client()
	if err != nil {
		return end, err
	}
	for {
		s, err := vm.status()
		if err != nil {
			return end, err
		}
		switch {
		case !s.State.Allows(state.Wait), !s.State.Live() && s.End == nil:
			return end, vm.stateError(state.Wait, s.State)
		case !s.State.Live():
			return *s.End, nil
		}
		err = c.Get(ctx, control.PathWait, &end)
		if err == nil {
			return end, vm.awaitFree(ctx, s.Run)
		}
		if !errors.Is(err, control.ErrGone) {
			return end, err
		}
		// It has gone meanwhile, or was killed, or does not listen yet.
		if err := vm.awaitFree(ctx, s.Run); err != nil {
			return end, err
		}
	}
}

// awaitGone waits until a run of the VM has ended and its monitor is gone.
func (vm *VM) awaitGone(ctx context.Context, run string) error {
	vm.mu.Lock()
	handle := vm.monitor
	vm.mu.Unlock()
	if handle == nil {
		return vm.awaitFree(ctx, run)
	}
	gone := make(chan struct{})
	go func() {
		_, _ = handle.wait() // Wait reports it
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awaitFree waits until nobody is in charge of the VM, unless somebody is who has
// started it again.
func (vm *VM) awaitFree(ctx context.Context, run string) error {
	err := vm.dir.WaitFree(run, ctx.Done())
	switch {
	case errors.Is(err, state.ErrNotFound):
		return nil // removed
	case errors.Is(err, state.ErrBusy):
		return context.Cause(ctx)
	}
	return err
}

// ended is the error of a VM whose connection broke with err, and that ended like
// this. died says that the monitor did not end well.
func ended(err error, end state.End, died error) error {
	reported, ok := errors.AsType[*agentproto.Error](err)
	switch {
	case ok && reported.Kind != agentproto.KindInternal:
		return fromAgent(err)
	case errors.Is(err, agentclient.ErrLost) && died != nil:
		return died
	case errors.Is(err, agentclient.ErrLost) && end.Error != "":
		return endError(end)
	case ok && strings.HasPrefix(reported.Message, end.Error) && end.Error != "":
		return endError(end)
	case ok: // the monitor had no directory, or one where nothing of this run is noted
		return &GuestError{Reason: reported.Message}
	}
	return fromAgent(err)
}

// endError is how a VM ended, as an error of this package.
func endError(end state.End) error {
	if end.Error == "" {
		return exitError(agentproto.Exit{Code: end.Code, Signal: end.Signal, Core: end.Core, OOM: end.OOM})
	}
	if kind := agentproto.ErrorKind(end.Kind); kind == agentproto.KindNotFound || kind == agentproto.KindNotExecutable {
		return fromAgent(&agentproto.Error{Kind: kind, Message: end.Error})
	}
	return &GuestError{Reason: end.Error, Console: end.Console, Killed: end.Killed, died: end.Died}
}

// exitError is how a program ended, as an error; nil for status 0.
func exitError(exit agentproto.Exit) error {
	if exit.Timeout {
		return ErrTimeout
	}
	if exit.Code == 0 && exit.Signal == 0 {
		return nil
	}
	return &ExitError{Code: exit.Code, Signal: syscall.Signal(exit.Signal), CoreDump: exit.Core, OOM: exit.OOM}
}

// reasonTime is how long a broken connection to the agent waits for the reason.
const reasonTime = 2 * time.Second

// lost is the error of something that went on in the guest when the connection to
// the agent broke: if the guest has ended, how.
func (vm *VM) lost(ctx context.Context, err error) error {
	if !errors.Is(err, agentclient.ErrLost) {
		return fromAgent(err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, reasonTime)
	defer cancel()
	end, werr := vm.awaitEnd(ctx)
	switch {
	case werr != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	case werr != nil:
		return err // the guest goes on, for all that is known
	case end.Error != "":
		return endError(end)
	case end.Killed:
		return &GuestError{Reason: "the VM was killed", Killed: true}
	}
	return &GuestError{Reason: fmt.Sprintf("the VM ended, because its main program did (%v)", programEnd(end))}
}

func programEnd(end state.End) string {
	if err := endError(end); err != nil {
		return err.Error()
	}
	return "exit status 0"
}
