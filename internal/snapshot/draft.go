package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/names"
)

// lockName is the file in a draft's directory that is locked as long as somebody works
// on it. A finished snapshot has none.
const lockName = "lock"

// Draft is a snapshot that is being made. Nobody sees it until Commit.
type Draft struct {
	ID   string // the snapshot's id to be
	Name string // the snapshot's name to be; may be empty
	// Path is the directory in which the sections are written until Commit.
	Path string

	store *Store
	lock  *os.File
}

// Begin makes a draft of a snapshot, with a name or, if it is empty, without one. A
// name that is taken is an *[ExistsError]; Commit looks again, since the name is not
// kept meanwhile. The caller must call Abort, and Commit before it to keep the
// snapshot. Begin cleans up what dead processes left, like [Store.Sweep].
func (s *Store) Begin(ctx context.Context, name string) (*Draft, error) {
	if name != "" {
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	d, dead, err := s.begin(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("begin a snapshot: %w", err)
	}
	_ = removeAll(dead) // what cannot be removed is no reason to make no snapshot; Sweep tells
	return d, nil
}

// begin makes the draft, and says which ones are dead.
func (s *Store) begin(ctx context.Context, name string) (_ *Draft, dead []string, err error) {
	lock, err := s.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer lock.Unlock()
	if err := s.checkFree(name); err != nil {
		return nil, nil, err
	}
	if dead, err = s.dead(); err != nil {
		return nil, nil, err
	}
	d := &Draft{ID: names.NewID(), Name: name, store: s}
	if d.Path, err = atomicfile.MkdirTemp(s.dir); err != nil {
		return nil, nil, err
	}
	s.stepped()
	// Who looks for dead drafts waits for the lock of the names.
	if d.lock, err = os.OpenFile(filepath.Join(d.Path, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		err = unix.FcntlFlock(d.lock.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	}
	if err != nil {
		d.Abort()
		return nil, nil, err
	}
	s.stepped()
	return d, dead, nil
}

// dead returns the directories of drafts that nobody works on, and of snapshots that
// somebody died removing. The lock of the names must be held.
func (s *Store) dead() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
			continue
		}
		path := filepath.Join(s.dir, e.Name())
		lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				dead = append(dead, path)
			}
			continue
		}
		// The lock belongs to the open file: who has that open keeps the draft, in
		// whichever process, and the kernel gives it up with the last of them.
		held := unix.Flock_t{Type: unix.F_WRLCK}
		if err := unix.FcntlFlock(lock.Fd(), unix.F_OFD_GETLK, &held); err == nil && held.Type == unix.F_UNLCK {
			dead = append(dead, path)
		}
		lock.Close()
	}
	return dead, nil
}

// removeAll removes directories that nobody uses.
func removeAll(paths []string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// Create makes the empty file of a section ([State], [Memory], [Pages] or a
// [DiskSection]), which the caller closes. It may be written through any descriptor and
// in any process, until Commit.
func (d *Draft) Create(section string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(d.Path, section), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create section %s: %w", section, err)
	}
	d.store.stepped()
	return f, nil
}

// Abort removes the draft with all that was written, unless it was committed.
func (d *Draft) Abort() {
	if d.Path == "" {
		return
	}
	_ = os.RemoveAll(d.Path) // what is left goes with the next Sweep
	if d.lock != nil {
		d.lock.Close()
	}
	d.Path = ""
}
