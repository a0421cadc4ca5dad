package program

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// Reaper waits for every child of this process: those started through it, and
// the orphans that the kernel hands to pid 1. There is one in a process, and
// nothing else in it may wait.
//
// A child's status is collected, and signals are sent, under one lock. So a
// status never arrives before its child is known, and a signal never reaches
// a process that took over the id of one that has gone.
type Reaper struct {
	mu       sync.Mutex
	children map[int]*child
	wake     chan struct{} // has an element when there may be a child again
	raised   atomic.Bool   // this process may have more files open than its children. Set under mu

	opening sync.Mutex // held while the streams of a program are opened
}

type child struct {
	done chan struct{} // closed once exit is set
	exit agentproto.Exit
}

// NewReaper returns a Reaper. Nothing is reaped until Run runs.
func NewReaper() *Reaper {
	return &Reaper{children: make(map[int]*child), wake: make(chan struct{}, 1)}
}

// Run reaps for ever.
func (r *Reaper) Run() {
	for {
		// WNOWAIT leaves the status in place for reapAll, which has the lock.
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil:
			r.reapAll()
		case errors.Is(err, unix.ECHILD):
			// Orphans descend from children, so only start can end this.
			<-r.wake
		}
	}
}

func (r *Reaper) reapAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		c := r.children[pid]
		if c == nil {
			continue // an orphan
		}
		delete(r.children, pid)
		if ws.Signaled() {
			c.exit = agentproto.Exit{Signal: int(ws.Signal()), Core: ws.CoreDump()}
		} else {
			c.exit = agentproto.Exit{Code: ws.ExitStatus()}
		}
		close(c.done)
	}
}

// errRaised says that a child would inherit the raised limit of open files.
var errRaised = errors.New("the limit of open files is raised")

// start forks and executes path and makes the child known. It fails with errRaised
// unless the child sets its own limit of open files.
func (r *Reaper) start(path string, argv []string, attr *syscall.ProcAttr, limited bool) (int, *child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.raised.Load() && !limited {
		return 0, nil, errRaised
	}
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	c := &child{done: make(chan struct{})}
	r.children[pid] = c
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return pid, c, nil
}

// signal sends sig to a child or, with group, to its process group. It fails
// with ESRCH when the child has been reaped.
func (r *Reaper) signal(pid int, sig unix.Signal, group bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children[pid] == nil {
		return unix.ESRCH
	}
	if group {
		pid = -pid
	}
	return unix.Kill(pid, sig)
}
