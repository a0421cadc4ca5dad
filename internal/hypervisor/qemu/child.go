package qemu

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is the QEMU process. It dies with this process, whatever ends that.
type child struct {
	cmd    *exec.Cmd
	stderr head
	exited chan struct{}
}

// startChild starts path; files become its descriptors 3 and up and stay the
// caller's to close.
func startChild(path string, args []string, files []*os.File) (*child, error) {
	c := &child{cmd: exec.Command(path, args...), exited: make(chan struct{})}
	c.cmd.Env = childEnv()
	c.cmd.ExtraFiles = files
	c.cmd.Stderr = &c.stderr
	c.cmd.WaitDelay = time.Second // for stderr, if something else still holds it
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // the terminal's Ctrl-C is for us alone
	}
	started := make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the thread that forked ends,
		// so that thread is kept until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // status says the same and more
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// childEnv is all that QEMU may need from the environment. The rest can hold
// secrets, and a guest that breaks out of QEMU should not find them there.
func childEnv() []string {
	env := []string{"LC_ALL=C"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (c *child) kill() { _ = c.cmd.Process.Kill() } // fails only when it has ended

// stop stops the process, or lets it go on. A kill ends it either way.
func (c *child) stop(stopped bool) {
	sig := syscall.SIGCONT
	if stopped {
		sig = syscall.SIGSTOP
	}
	_ = c.cmd.Process.Signal(sig) // fails only when it has ended
}

// status is how the process ended, to be asked after exited.
func (c *child) status() syscall.WaitStatus {
	return c.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// cpuTime is the processor time of all its threads.
func (c *child) cpuTime() time.Duration {
	select {
	case <-c.exited:
		return c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime()
	default:
	}
	// The clock of another process (clock_getcpuclockid(3)): one call, exact
	// to the nanosecond, where /proc would be text with ticks of 10 ms.
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^c.cmd.Process.Pid<<3|schedClock), &ts); err != nil {
		<-c.exited // it ended between the two looks
		return c.cpuTime()
	}
	return time.Duration(ts.Nano())
}

// maxStderr bounds what is kept of QEMU's messages, in bytes. The first ones
// tell the cause; a guest may be able to provoke any number of later ones.
const maxStderr = 4 << 10

// head is a writer that keeps the first maxStderr bytes.
type head struct {
	mu  sync.Mutex
	buf []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, p[:min(len(p), maxStderr-len(h.buf))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.buf)
}
