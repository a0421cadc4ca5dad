// Package program starts programs in the guest and waits for them: lookup in
// PATH, user, limits, terminal or pipes, and the one reaper of the process.
//
// It knows no protocol beyond the types of agentproto, and does nothing that
// needs to be pid 1, so it is tested on the host.
package program

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// Process is a program that was started.
type Process struct {
	// PID is the process id, and the id of its session and process group.
	PID int
	// Argv is what the program was called with.
	Argv []string
	// Stdin is the writing end of standard input, nil when it is /dev/null.
	Stdin *os.File
	// Stdout is the reading end of standard output, or the terminal.
	Stdout *os.File
	// Stderr is the reading end of standard error, nil with a terminal.
	Stderr *os.File

	tty    bool
	reaper *Reaper
	child  *child
	killed atomic.Bool
}

// Start starts the program that spec describes. Its error says what a user got
// wrong, or what went wrong, in terms of the guest. The caller owns the
// Process and ends with Close.
func Start(r *Reaper, spec agentproto.Program) (*Process, *agentproto.Error) {
	if err := spec.Validate(); err != nil {
		return nil, &agentproto.Error{Kind: agentproto.KindInvalid, Message: err.Error()}
	}
	who, err := lookupUser(spec.User)
	if err != nil {
		return nil, &agentproto.Error{Kind: agentproto.KindInvalid, Message: err.Error()}
	}
	cwd := directory(spec, who)
	if e := checkCwd(cwd); e != nil {
		return nil, e
	}
	env := environment(spec, who)
	path, arg0, e := executable(spec, who, cwd, getenv(env, "PATH"))
	if e != nil {
		return nil, e
	}

	s, err := r.openStdio(spec)
	if err != nil {
		return nil, internal(fmt.Errorf("open standard streams: %w", err))
	}
	defer s.closeChild()
	if who.set {
		// A program may open /dev/stdout or its terminal again by name.
		s.chown(who.uid)
	}

	l := launch{path: path, argv: append([]string{arg0}, spec.Args...), env: env, cwd: cwd, who: who, tty: spec.TTY, stdio: s}
	pid, c, err := l.start(r, spec.Rlimits)
	if err != nil {
		s.closeParent()
		return nil, startError(path, cwd, err)
	}
	return &Process{PID: pid, Argv: l.argv, Stdin: s.in, Stdout: s.out, Stderr: s.err, tty: spec.TTY, reaper: r, child: c}, nil
}

// launch is everything that decides how a process is executed.
type launch struct {
	path, cwd string
	argv, env []string
	who       user
	tty       bool
	stdio     *stdio
}

func (l launch) attr() *syscall.ProcAttr {
	a := &syscall.ProcAttr{
		Dir:   l.cwd,
		Env:   l.env,
		Files: l.stdio.child[:],
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if l.tty {
		a.Sys.Setctty, a.Sys.Ctty = true, 0
	}
	return a
}

func (l launch) start(r *Reaper, limits []agentproto.Rlimit) (int, *child, error) {
	if len(limits) > 0 {
		return l.startLimited(r, limits)
	}
	a := l.attr()
	if l.who.set {
		a.Sys.Credential = &syscall.Credential{Uid: l.who.uid, Gid: l.who.gid, Groups: l.who.groups}
	}
	pid, c, err := r.start(l.path, l.argv, a, false)
	if errors.Is(err, errRaised) {
		return l.startLimited(r, nil)
	}
	return pid, c, err
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.child.done }

// Exit says how the program ended. It is valid once Done is closed.
func (p *Process) Exit() agentproto.Exit { return p.child.exit }

// Signal sends a signal to the program or, with group, to its process group. It
// fails with ESRCH when the program has ended.
func (p *Process) Signal(n int, group bool) error {
	if n == int(unix.SIGKILL) {
		p.killed.Store(true)
	}
	return p.reaper.signal(p.PID, unix.Signal(n), group)
}

// Kill ends the program and what is left in its process group at once.
func (p *Process) Kill() error { return p.Signal(int(unix.SIGKILL), true) }

// Killed reports whether Signal or Kill has sent SIGKILL.
func (p *Process) Killed() bool { return p.killed.Load() }

// Resize sets the terminal's size. Without a terminal it does nothing.
func (p *Process) Resize(s agentproto.WindowSize) error {
	if !p.tty {
		return nil
	}
	return setWindow(p.Stdout, s)
}

// EndStdin tells the program that its input is over: the pipe is closed, and a
// terminal in line mode is given its end-of-file character. partial says that
// the last byte written was not the end of a line; then a terminal needs the
// character twice.
func (p *Process) EndStdin(partial bool) error {
	if p.Stdin == nil {
		return nil
	}
	if p.tty {
		return endTerminalInput(p.Stdout, partial)
	}
	return p.Stdin.Close()
}

// Unblock makes writes to Stdin fail, now and from now on.
func (p *Process) Unblock() {
	if p.Stdin != nil {
		_ = p.Stdin.SetWriteDeadline(time.Unix(1, 0)) // it may be closed
	}
}

// Close closes the streams. It does not end the program.
func (p *Process) Close() {
	for _, f := range []*os.File{p.Stdin, p.Stdout, p.Stderr} {
		if f != nil {
			_ = f.Close() // Stdin and Stdout are one file with a terminal
		}
	}
}

func internal(err error) *agentproto.Error {
	return &agentproto.Error{Kind: agentproto.KindInternal, Message: err.Error()}
}

func notFound(format string, args ...any) *agentproto.Error {
	return &agentproto.Error{Kind: agentproto.KindNotFound, Message: fmt.Sprintf(format, args...)}
}

func notExecutable(format string, args ...any) *agentproto.Error {
	return &agentproto.Error{Kind: agentproto.KindNotExecutable, Message: fmt.Sprintf(format, args...)}
}

func checkCwd(cwd string) *agentproto.Error {
	fi, err := os.Stat(cwd)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return notFound("working directory %s does not exist in the guest", cwd)
	case err != nil:
		return notExecutable("working directory %s: %v", cwd, errors.Unwrap(err))
	case !fi.IsDir():
		return notExecutable("working directory %s is not a directory", cwd)
	}
	return nil
}
