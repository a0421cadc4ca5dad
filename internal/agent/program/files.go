package program

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/holtvm/holt/internal/agentproto"
)

const (
	// defaultFiles is how many files a program may have open, which it may raise to
	// maxFiles, as container tools have it.
	defaultFiles, maxFiles = 1024, 1 << 20
	// agentFiles is how many this process may have open when it needs them. It is above
	// what every operation together can use.
	agentFiles = 16 << 10
	// manyFiles is the descriptor from which on that is needed. The kernel gives out
	// the lowest one that is free.
	manyFiles = defaultFiles / 2
)

// SetDefaultLimits gives this process, and so what it starts, the limits that
// programs expect. Going through package syscall also stops the Go runtime from
// restoring its own idea of the limit in children.
func SetDefaultLimits() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: defaultFiles, Max: maxFiles}); err != nil {
		return fmt.Errorf("set limit of open files: %w", err)
	}
	return nil
}

// Opened tells r of a descriptor that this process has opened. A high one raises the
// limit of this process, until few are open again. Children would inherit the raised
// limit, so what is started meanwhile takes the longer way through the shim.
func (r *Reaper) Opened(fd int) {
	many := fd >= manyFiles
	if many == r.raised.Load() {
		return // without mu: whoever starts a program may wait for it with that
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// A low descriptor may have been the last one that was free.
	raised := r.raised.Load()
	if many == raised || raised && countFiles() >= manyFiles {
		return
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	limit.Cur = min(defaultFiles, limit.Max)
	if many {
		limit.Cur = min(agentFiles, limit.Max)
	}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		r.raised.Store(many)
	}
}

// openStdio opens the streams of a program. One by one, so that Opened hears of the
// many before they are too many.
func (r *Reaper) openStdio(spec agentproto.Program) (*stdio, error) {
	r.opening.Lock()
	defer r.opening.Unlock()
	s, err := openStdio(spec)
	if err == nil {
		r.Opened(slices.Max(s.fds))
	}
	return s, err
}

// openRegular opens a file for reading that programs of the guest can replace: a FIFO in
// its place would be waited for, and is an error like everything that is no file.
func openRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("open %s: it is not a regular file", name)
	}
	return f, nil
}

// countFiles counts the descriptors of this process.
func countFiles() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return maxFiles // the guest took /proc away
	}
	return len(names)
}

// filesLimit is what a program gets that is started with the raised limit.
func filesLimit() agentproto.Rlimit {
	limit := syscall.Rlimit{Max: maxFiles}
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) // it cannot fail
	return agentproto.Rlimit{Resource: syscall.RLIMIT_NOFILE, Soft: min(defaultFiles, limit.Max), Hard: limit.Max}
}
