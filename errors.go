package holt

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/holtvm/holt/internal/agentproto"
)

var (
	// ErrProgramNotFound says that the program, its interpreter or its
	// working directory does not exist in the guest.
	ErrProgramNotFound = errors.New("program not found in the guest")
	// ErrProgramNotExecutable says that the program exists in the guest and
	// cannot be executed.
	ErrProgramNotExecutable = errors.New("program cannot be executed in the guest")
	// ErrNotRunning is returned by methods that need a running VM.
	ErrNotRunning = errors.New("the VM is not running")
	// ErrStarted is returned by Start when it was called before.
	ErrStarted = errors.New("the VM was started already; a VM runs once")
	// ErrHoltNotFound says that no holt binary was found to run the VM's
	// monitor.
	ErrHoltNotFound = errors.New("no holt binary found")
)

// ExitError says that the guest's program ran and did not end with status 0.
type ExitError struct {
	Code     int            // exit status, 1 to 255; 0 when a signal ended the program
	Signal   syscall.Signal // the signal that ended it, or 0
	CoreDump bool           // the guest's kernel dumped core
}

// Error implements error, in the words of os/exec.
func (e *ExitError) Error() string {
	if e.Signal == 0 {
		return fmt.Sprintf("exit status %d", e.Code)
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
	case errors.Is(err, context.DeadlineExceeded):
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
	}
	return errors.New(reported.Message)
}
