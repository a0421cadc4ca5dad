// Package flock holds advisory locks between processes on lock files.
package flock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollInterval is how often a taken lock is tried again: flock(2) cannot wait
// and be cancelled.
const pollInterval = 50 * time.Millisecond

// Lock is an exclusive lock that is held until Unlock or the process's end.
type Lock struct{ f *os.File }

// Acquire waits until the lock at path is free and takes it. The file is
// created when missing and never removed, because removing a lock file races
// with those who wait for it.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Lock{f}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for lock %s: %w", path, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// Unlock gives the lock up.
func (l *Lock) Unlock() { l.f.Close() }
