package holt

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/state"
)

var (
	// ErrProgramNotFound says that the program, its interpreter or its
	// working directory does not exist in the guest.
	ErrProgramNotFound = errors.New("program not found in the guest")
	// ErrProgramNotExecutable says that the program exists in the guest and
	// cannot be executed.
	ErrProgramNotExecutable = errors.New("program cannot be executed in the guest")
	// ErrNotRunning is returned by methods that need a running VM. A *StateError is
	// one too unless the VM runs.
	ErrNotRunning = errors.New("the VM is not running")
	// ErrStarted is returned by Start when it was called before.
	ErrStarted = errors.New("the VM was started already; a VM that is not kept runs once")
	// ErrNotFound says that there is no such VM, snapshot or pool, or no such session or
	// process in a VM.
	ErrNotFound = errors.New("not found")
	// ErrExists says that the name for a VM, a snapshot or a pool is in use.
	ErrExists = errors.New("exists already")
	// ErrBusy says that somebody else is connected already, or that the guest has as
	// much to do as it may.
	ErrBusy = errors.New("in use")
	// ErrDetached is returned by Wait when somebody called Detach.
	ErrDetached = errors.New("detached from the program, which goes on")
	// ErrTimeout says that a program in the guest ran longer than it may.
	ErrTimeout = errors.New("the time is over")
	// ErrHoltNotFound says that no holt binary was found to run the VM's
	// monitor.
	ErrHoltNotFound = errors.New("no holt binary found")
)

// StateError says that a VM is not in a state for what was asked of it. It is
// ErrNotRunning, for errors.Is, if the VM neither runs nor is paused.
type StateError struct {
	Operation string // start, stop, kill, pause, resume, signal, attach, use, measure, snapshot,
	// fork, wait or remove
	VM    string // its name or, without one, its id
	State State
}

// Error implements error.
func (e *StateError) Error() string {
	return (&state.Error{Operation: state.Operation(e.Operation), VM: e.VM, State: state.State(e.State)}).Error()
}

// Is implements what errors.Is asks for.
func (e *StateError) Is(target error) bool {
	return target == ErrNotRunning && (e.State == StateCreated || e.State == StateStopped)
}

// GuestError says that a VM ended, or never came up, and not because its program
// ended.
type GuestError struct {
	Reason string
	// Console are the last lines of the guest's console, each with its newline.
	Console string
	// Killed says that somebody asked for the end: Kill, or the end of the client.
	Killed bool

	died bool
}

// Error implements error. It shows the end of the console.
func (e *GuestError) Error() string {
	if e.died {
		return state.DeathText(e.Reason, e.Console)
	}
	return e.Reason
}

// ExitError says that the guest's program ran and did not end with status 0.
type ExitError struct {
	Code     int            // exit status, 1 to 255; 0 when a signal ended the program
	Signal   syscall.Signal // the signal that ended it, or 0
	CoreDump bool           // the guest's kernel dumped core
	OOM      bool           // the guest's kernel killed it for lack of memory
	// Stderr is what the program said there, if [Cmd.Output] or [RunCode] collected it:
	// the first and the last 32 KiB.
	Stderr []byte
}

// Error implements error, in the words of os/exec.
func (e *ExitError) Error() string {
	if e.Signal == 0 {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	if e.OOM {
		return fmt.Sprintf("signal: %v (the guest ran out of memory)", e.Signal)
	}
	if e.CoreDump {
		return fmt.Sprintf("signal: %v (core dumped)", e.Signal)
	}
	return fmt.Sprintf("signal: %v", e.Signal)
}

// Exit statuses of the holt command, in docker's numbering.
const (
	StatusTimeout       = 124
	StatusHoltFailed    = 125
	StatusNotExecutable = 126
	StatusNotFound      = 127
)

// ExitStatus is the exit status with which a command that runs a VM ends,
// given the error of [VM.Run], [VM.Start] or [VM.Wait]: the program's own; 128+n
// when signal n ended it; 124 when a deadline passed; 127 when the program was
// not found, 126 when it cannot be executed; and 125 when Holt itself failed.
func ExitStatus(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Signal != 0:
		return 128 + int(exit.Signal)
	case errors.As(err, &exit):
		return exit.Code
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrTimeout):
		return StatusTimeout
	case errors.Is(err, ErrProgramNotExecutable):
		return StatusNotExecutable
	case errors.Is(err, ErrProgramNotFound):
		return StatusNotFound
	}
	return StatusHoltFailed
}

// fromAgent turns what the agent or the monitor reported into an error of this
// package.
func fromAgent(err error) error {
	var reported *agentproto.Error
	if !errors.As(err, &reported) {
		return err
	}
	switch reported.Kind {
	case agentproto.KindNotFound:
		return fmt.Errorf("%w: %s", ErrProgramNotFound, reported.Message)
	case agentproto.KindNotExecutable:
		return fmt.Errorf("%w: %s", ErrProgramNotExecutable, reported.Message)
	case agentproto.KindBusy:
		return fmt.Errorf("%w: %s", ErrBusy, reported.Message)
	}
	return errors.New(reported.Message)
}
