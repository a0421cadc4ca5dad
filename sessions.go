package holt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// MainSession is the id of a VM's main program, for [VM.SignalSession].
const MainSession = agentproto.MainSession

// Session is a program that [VM.Exec] started, as the guest says.
type Session struct {
	ID       string    `json:"id"` // a number that no other session of the VM's run has
	PID      int       `json:"pid"`
	Command  []string  `json:"command"` // with its arguments, the first 4 KiB
	User     string    `json:"user,omitempty"`
	Terminal bool      `json:"terminal,omitempty"`
	Attached bool      `json:"attached,omitempty"` // somebody is connected to its streams
	Running  bool      `json:"running"`
	Started  time.Time `json:"started"` // by the guest's clock
	// ExitStatus is how it ended, as a shell would tell; nil while it runs. Error says
	// more if it did not exit with status 0.
	ExitStatus *int   `json:"exit_status,omitempty"`
	Error      string `json:"error,omitempty"`
}

// ProcessInfo is a process of a guest, as the guest says.
type ProcessInfo struct {
	PID       int           `json:"pid"`
	ParentPID int           `json:"parent_pid"`
	User      string        `json:"user"`         // a name, or the number of who has none
	State     string        `json:"state"`        // the kernel's letter: R runs, S sleeps, Z is a zombie
	CPUTime   time.Duration `json:"cpu_time_ns"`  // that it has used
	Memory    uint64        `json:"memory_bytes"` // that it has resident
	Started   time.Time     `json:"started"`      // by the guest's clock
	Command   string        `json:"command"`      // its arguments, or its name in brackets
}

// Sessions lists the programs that [VM.Exec] started and that run, in the order of
// their start, and those that ended while nobody was connected to them: each until
// somebody has attached to it, and the last 64.
func (vm *VM) Sessions(ctx context.Context) ([]Session, error) {
	list, err := ask(ctx, vm, func(conn net.Conn) ([]agentproto.Session, error) { return agentclient.Sessions(ctx, conn) })
	if err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	var sessions []Session
	for _, s := range list {
		sessions = append(sessions, sessionOf(s))
	}
	return sessions, nil
}

func sessionOf(s agentproto.Session) Session {
	session := Session{
		ID: s.ID, PID: s.PID, Command: s.Argv, User: s.User, Terminal: s.TTY,
		Attached: s.Attached, Running: s.Running, Started: time.Unix(0, s.StartedNS).UTC(),
	}
	if s.Exit != nil {
		err := exitError(*s.Exit)
		status := ExitStatus(err)
		session.ExitStatus = &status
		if err != nil {
			session.Error = err.Error()
		}
	}
	return session
}

// AttachSession returns a Cmd that connects to the session with this id, which nobody
// is connected to: ErrNotFound if there is none. Of the Cmd's fields it uses the streams
// and Terminal, to which it sets the size of the program's own if that has one. Start
// connects; what was kept of the output comes first. The end of ctx leaves the program
// running.
func (vm *VM) AttachSession(ctx context.Context, id string) *Cmd {
	c := vm.Exec(ctx, Command{})
	c.attach = id
	return c
}

// SignalSession sends a signal to the program of a session or, with group, to its
// process group. The session MainSession is the VM's main program. ErrNotFound says that
// there is no such session, or that its program has ended.
func (vm *VM) SignalSession(ctx context.Context, id string, sig syscall.Signal, group bool) error {
	_, err := ask(ctx, vm, func(conn net.Conn) (struct{}, error) {
		s := agentproto.SessionSignal{Session: id, Signal: int(sig), Group: group}
		return struct{}{}, noSession(agentclient.SignalSession(ctx, conn, s))
	})
	return err
}

// noSession makes ErrNotFound of what the agent says of a session that is not there.
func noSession(err error) error {
	if reported, ok := errors.AsType[*agentproto.Error](err); ok && reported.Kind == agentproto.KindNotFound {
		return &notFoundError{errors.New(reported.Message)}
	}
	return err
}

// Processes lists the guest's processes but for the kernel's own threads, in no order.
func (vm *VM) Processes(ctx context.Context) ([]ProcessInfo, error) {
	list, err := ask(ctx, vm, func(conn net.Conn) ([]agentproto.ProcessInfo, error) { return agentclient.Processes(ctx, conn) })
	if err != nil {
		return nil, fmt.Errorf("list the guest's processes: %w", err)
	}
	var processes []ProcessInfo
	for _, p := range list {
		processes = append(processes, ProcessInfo{
			PID: p.PID, ParentPID: p.PPID, User: p.User, State: p.State, Command: p.Command,
			CPUTime: time.Duration(p.CPUMS) * time.Millisecond, Memory: uint64(p.RSSBytes),
			Started: time.Unix(0, p.StartedNS).UTC(),
		})
	}
	return processes, nil
}
