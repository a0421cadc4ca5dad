package holt

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// Cmd is a Command that is run in a VM. It is shaped like [os/exec.Cmd]: set the
// fields, then Start and Wait, Run, Output or CombinedOutput, once. When the context
// that it was made with ends, the program is killed, with its process group.
//
// Errors are an *ExitError or ErrTimeout when the program ended so,
// ErrProgramNotFound and ErrProgramNotExecutable when it could not be started, a
// *StateError when the VM does not run, a *GuestError within two seconds when the VM
// ends meanwhile, and the context's cause.
type Cmd struct {
	Command

	vm      *VM
	ctx     context.Context
	attach  string // the session to connect to; empty for a new program
	began   bool   // Start was called
	writes  bool   // somebody called StdinPipe
	readers []io.Closer
	writers []io.Closer

	ready   chan struct{}        // closed when Start is done. Then the following are set
	runs    bool                 // it succeeded
	session *agentclient.Session // nil if Detached
	id      string
	pid     int

	done chan struct{} // closed when all has ended, and err is set
	err  error
}

// outputTime is how long writers may hold Wait up after the context's end.
const outputTime = time.Second

// timeoutSlack is what a guest gets beyond a Timeout to end the program itself. One that
// is paused or stands still does not.
const timeoutSlack = 5 * time.Second

// Command returns a Cmd that runs the program name with args in the VM.
func (vm *VM) Command(ctx context.Context, name string, args ...string) *Cmd {
	return vm.Exec(ctx, Command{Path: name, Args: args})
}

// Exec returns a Cmd that runs c in the VM. Any number of them run at once.
func (vm *VM) Exec(ctx context.Context, c Command) *Cmd {
	return &Cmd{Command: c, vm: vm, ctx: ctx, ready: make(chan struct{}), done: make(chan struct{})}
}

// Shell returns a Cmd that is a login shell with a terminal: of 24 rows and 80 columns
// if c does not say. An empty Path is the user's own shell.
func (vm *VM) Shell(ctx context.Context, c Command) *Cmd {
	c.Login = true
	if c.Terminal == nil {
		c.Terminal = &WindowSize{Rows: 24, Cols: 80}
	}
	return vm.Exec(ctx, c)
}

// Run is Start and Wait.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Start starts the program and returns when it runs.
func (c *Cmd) Start() error {
	if c.began {
		return errors.New("the command was started already")
	}
	c.began = true
	defer close(c.ready)
	if err := c.start(); err != nil {
		closeAll(c.readers, c.writers)
		return orCause(c.ctx, err)
	}
	c.runs = true
	return nil
}

func (c *Cmd) start() error {
	if c.Detached && (c.Stdin != nil || c.writes || c.Stdout != nil || c.Stderr != nil) {
		return errors.New("a detached command has no streams: leave Stdin, Stdout and Stderr nil")
	}
	spec := c.spec()
	if c.attach == "" {
		if err := spec.Validate(); err != nil {
			return err
		}
	}
	conn, err := c.vm.agent(c.ctx)
	if err != nil {
		return err
	}
	output := agentclient.Output{Stdout: c.Stdout, Stderr: c.Stderr}
	switch {
	case c.attach != "":
		if c.session, err = agentclient.AttachSession(c.ctx, conn, c.attach, output, spec.Stdin); err != nil {
			return c.vm.lost(c.ctx, noSession(err))
		}
	case c.Detached:
		if c.id, c.pid, err = agentclient.Detached(c.ctx, conn, spec); err != nil {
			return c.vm.lost(c.ctx, err)
		}
		c.note(eventExec, "command", commandLine(spec))
		c.err = ErrDetached
		close(c.done)
		return nil
	default:
		if c.session, err = agentclient.Exec(c.ctx, conn, spec, output); err != nil {
			return c.vm.lost(c.ctx, err)
		}
	}
	c.id, c.pid = c.session.ID, c.session.PID
	if c.attach != "" && c.Terminal != nil {
		_ = c.session.Resize(c.Terminal.Rows, c.Terminal.Cols) // it may have ended
	}
	if c.Stdin != nil {
		go c.copyStdin()
	}
	go c.attend(commandLine(spec))
	return nil
}

// copyStdin does not outlive the program for longer than a Read of Stdin blocks, which
// nobody can interrupt.
func (c *Cmd) copyStdin() {
	_, _ = io.Copy(c.session.Stdin(), c.Stdin) // a program that reads no more is no error
	_ = c.session.Stdin().Close()
}

// attend stays with the program until its end.
func (c *Cmd) attend(command string) {
	stop := context.AfterFunc(c.ctx, func() {
		_ = c.session.Close()
		closeAll(c.writers) // nobody may be reading
	})
	if c.attach == "" {
		c.note(eventExec, "command", command) // while the guest is busy
	}
	var late atomic.Bool
	if c.Timeout > 0 {
		defer time.AfterFunc(c.Timeout+timeoutSlack, func() {
			late.Store(true)
			_ = c.session.Close()
		}).Stop()
	}
	exit, err := c.session.Wait()
	stop()
	closeAll(c.writers)
	switch {
	case err != nil && late.Load():
		c.err = ErrTimeout
	case err == nil:
		c.err = exitError(exit)
		c.noteEnd(exit)
	case errors.Is(err, agentclient.ErrDetached):
		c.err = ErrDetached
	default:
		c.err = orCause(c.ctx, c.vm.lost(c.ctx, err))
	}
	close(c.done)
}

// Wait waits until the program has ended and all its output is written. It closes what
// StdoutPipe and StderrPipe returned. When the context has ended, writers that block
// are waited for no longer than a second.
func (c *Cmd) Wait() error {
	if !c.started() {
		return errNotStarted
	}
	defer closeAll(c.readers)
	select {
	case <-c.done:
	case <-c.ctx.Done():
		select {
		case <-c.done:
		case <-time.After(outputTime):
			return context.Cause(c.ctx)
		}
	}
	return c.err
}

var errNotStarted = errors.New("the command was not started")

// started reports whether Start has succeeded.
func (c *Cmd) started() bool {
	select {
	case <-c.ready:
		return c.runs
	default:
		return false
	}
}

// running returns the connection with the program, or says why there is none.
func (c *Cmd) running() (*agentclient.Session, error) {
	if !c.started() {
		return nil, errNotStarted
	}
	select {
	case <-c.done:
		if errors.Is(c.err, ErrDetached) {
			return nil, ErrDetached
		}
		return nil, os.ErrProcessDone
	default:
		return c.session, nil
	}
}

// Signal sends a signal to the program, not to its children; also after Detach. A
// program that has ended is os.ErrProcessDone.
func (c *Cmd) Signal(sig syscall.Signal) error {
	session, err := c.running()
	if errors.Is(err, ErrDetached) {
		return c.vm.SignalSession(c.ctx, c.id, sig, false)
	}
	if err != nil {
		return err
	}
	return session.Signal(int(sig))
}

// Resize sets the size of the program's terminal.
func (c *Cmd) Resize(size WindowSize) error {
	session, err := c.running()
	if err != nil {
		return err
	}
	return session.Resize(size.Rows, size.Cols)
}

// Detach leaves the program running without this process, and makes Wait return
// ErrDetached. The last 64 KiB of its output from then on are kept for
// [VM.AttachSession], and its standard input stays open. Detach waits for the writers,
// and must not be called by one. A program that ends meanwhile is no error.
func (c *Cmd) Detach() error {
	session, err := c.running()
	if errors.Is(err, ErrDetached) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := session.Detach(); err != nil {
		return c.vm.lost(c.ctx, err)
	}
	<-c.done
	return nil
}

// PID is the program's process id in the guest, as the guest says; 0 before Start.
func (c *Cmd) PID() int {
	if !c.started() {
		return 0
	}
	return c.pid
}

// Session is the id of the program's session, for [VM.AttachSession]; empty before
// Start.
func (c *Cmd) Session() string {
	if !c.started() {
		return ""
	}
	return c.id
}

// note notes what happened to the session.
func (c *Cmd) note(action string, attributes ...string) {
	c.vm.mu.Lock()
	record := c.vm.dir.Record
	c.vm.mu.Unlock()
	note(action, record, append(attributes, "session", c.id)...)
}

func (c *Cmd) noteEnd(exit agentproto.Exit) {
	if exit.Signal != 0 {
		c.note(eventExecEnd, "signal", strconv.Itoa(exit.Signal))
		return
	}
	c.note(eventExecEnd, "exit", strconv.Itoa(exit.Code))
}
