package holt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/limits"
	"github.com/holtvm/holt/internal/monitor"
	"github.com/holtvm/holt/internal/state"
)

// processMonitor is a monitor in a process of its own.
type processMonitor struct {
	cmd   *exec.Cmd
	conn  net.Conn
	dir   *state.Dir
	group *limits.Group // that limits it; nil if none could be had
	reap  func() (state.End, error)
}

// startProcess starts `holt monitor` and hands it the specification, one end of
// the stream connection, the lock of the VM's directory, the control socket and the
// files of the VM's origin, if it has one, in this order from descriptor 3 on.
func startProcess(binary string, spec monitorSpec, origin *monitor.OriginFiles, dir *state.Dir, log io.Writer) (monitorHandle, net.Conn, error) {
	listener, err := control.Listen(dir.Path)
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return nil, nil, fmt.Errorf("start the monitor: %w", err)
	}
	defer socket.Close()
	conn, theirs, err := streamPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("start the monitor: %w", err)
	}
	defer specRead.Close()
	cmd, group, err := startLimited(dir.Record.ID, monitor.Spec(spec), log, func() *exec.Cmd {
		// Not CommandContext: the monitor lives on when the start is over.
		cmd := exec.Command(binary, "monitor")
		cmd.Stderr = log
		cmd.ExtraFiles = []*os.File{specRead, theirs, dir.Lock, socket}
		if origin != nil {
			cmd.ExtraFiles = append(cmd.ExtraFiles, origin.List()...)
		}
		// Huge pages are for its guest: what a monitor has on its heap is less than one.
		cmd.Env = append(os.Environ(), "GODEBUG="+strings.TrimPrefix(os.Getenv("GODEBUG")+",disablethp=1", ","))
		// A session of its own: the terminal's signals are the client's business.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if dir.Record.Kept {
			cmd.Dir = "/" // it may outlive the client's directory
		}
		return cmd
	})
	if err != nil {
		conn.Close()
		specWrite.Close()
		return nil, nil, fmt.Errorf("start the monitor: %w", err)
	}
	if group != nil {
		spec.ControlGroup = group.Path()
	}
	go func() {
		defer specWrite.Close()
		_ = monitor.WriteSpec(specWrite, monitor.Spec(spec)) // a monitor that does not read dies and is reported
	}()
	dir.Unlock() // the monitor has it
	p := &processMonitor{cmd: cmd, conn: conn, dir: dir, group: group}
	p.reap = sync.OnceValues(p.cleanUp)
	return p, conn, nil
}

// startLimited starts the monitor that command makes in a control group, or, where
// none can be had, without one.
func startLimited(id string, spec monitor.Spec, log io.Writer, command func() *exec.Cmd) (*exec.Cmd, *limits.Group, error) {
	logger := spec.Logger(log).With("vm", id)
	group, err := limits.NewGroup(id, spec.Limits())
	if err == nil {
		cmd := command()
		if err = group.Start(cmd); err == nil {
			return cmd, group, nil
		}
		_ = group.Remove() // if it is still there, a later start sweeps it
	}
	logger.Debug("the VM has no control group", "reason", err)
	cmd := command()
	return cmd, nil, cmd.Start()
}

// streamPair returns two ends of a connection: ours and a file for the child.
func streamPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "monitor stream")
	defer ours.Close()
	theirs := os.NewFile(uintptr(fds[1]), "client stream")
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("connect to the monitor: %w", err)
	}
	return conn, theirs, nil
}

// kill hangs up, whereupon the monitor ends the VM and itself. One that does not
// is killed, and QEMU dies with it.
func (p *processMonitor) kill() {
	_ = p.conn.Close()
	time.AfterFunc(killTime, func() { _ = p.cmd.Process.Kill() })
}

// killTime is how long a monitor may take to clean up after its client hung up.
const killTime = 3 * time.Second

func (p *processMonitor) wait() (state.End, error) { return p.reap() }

func (p *processMonitor) cleanUp() (end state.End, err error) {
	err = p.cmd.Wait()
	if p.group != nil {
		_ = p.group.Remove() // if it is still there, a later start sweeps it
	}
	end = lastEnd(p.dir)
	if !p.dir.Record.Kept {
		if rerr := p.dir.Remove(); rerr != nil && !errors.Is(rerr, os.ErrNotExist) && err == nil {
			return end, fmt.Errorf("remove the VM's directory: %w", rerr)
		}
	}
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return end, fmt.Errorf("the VM's monitor died: %w", err)
	}
	return end, err
}

// lastEnd is how the VM ended, as far as its monitor could still note it.
func lastEnd(dir *state.Dir) (end state.End) {
	if s, err := dir.Status(); err == nil && s.End != nil {
		end = *s.End
	}
	return end
}
