package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/flock"
	"github.com/holtvm/holt/internal/names"
	"github.com/holtvm/holt/internal/paths"
)

// unfinishedAge is how old a directory under a temporary name must be to count as
// left behind: making one takes milliseconds.
const unfinishedAge = time.Minute

// Store is where the directories of all VMs are.
type Store struct {
	kept    string // of VMs that stay
	running string // of the others
}

// Open returns the store in Holt's directories, which need not exist yet.
func Open(dirs paths.Dirs) *Store {
	return &Store{kept: filepath.Join(dirs.Data, "vms"), running: dirs.Runtime}
}

// CheckName says what is wrong with a name for a VM.
func CheckName(name string) error { return names.Check("VM", name) }

// ExistsError says that a name is taken.
type ExistsError struct{ Name, ID string }

// Error implements error.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("the name %q is in use by VM %s: remove it (holt rm %s), rename it, or choose another name", e.Name, e.ID, e.Name)
}

// Create makes a directory for a new VM, locked by this process. It fills in the
// record's ID and Created. A name that is taken is an *ExistsError. What dead VMs
// left in the runtime directory is cleaned up.
func (s *Store) Create(ctx context.Context, r Record) (*Dir, error) {
	r.Version, r.ID, r.Created = Version, names.NewID(), time.Now().UTC()
	_, _ = s.Sweep() // what cannot be removed is no reason to make no VM; prune tells
	parent := s.running
	if r.Kept {
		parent = s.kept
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return nil, fmt.Errorf("create the VM's directory: %w", err)
		}
	}
	if r.Name != "" {
		done, err := s.reserve(ctx, r.Name, "")
		if err != nil {
			return nil, err
		}
		defer done()
	}
	d, err := create(parent, r)
	if err != nil {
		return nil, fmt.Errorf("create the VM's directory in %s: %w", parent, err)
	}
	return d, nil
}

// reserve checks that no VM but the one with the id has the name, if it is one, and
// keeps it so until done is called. No name is given or taken meanwhile.
func (s *Store) reserve(ctx context.Context, name, id string) (done func(), err error) {
	if name != "" {
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.kept, 0o700); err != nil {
		return nil, err
	}
	lock, err := flock.Acquire(ctx, filepath.Join(s.kept, ".names.lock"))
	if err != nil {
		return nil, err
	}
	all, err := s.List()
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	for _, other := range all {
		if name != "" && other.Record.Name == name && other.Record.ID != id {
			lock.Unlock()
			return nil, &ExistsError{name, other.Record.ID}
		}
	}
	return lock.Unlock, nil
}

// create makes the directory under a temporary name first: it appears with its
// lock held, so nobody takes a new one for a dead one.
func create(parent string, r Record) (_ *Dir, err error) {
	temp, err := atomicfile.MkdirTemp(parent)
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: temp, Record: r}
	defer func() {
		if err != nil {
			d.Unlock()
			os.RemoveAll(temp)
		}
	}()
	if d.Lock, err = openLock(temp, os.O_CREATE|os.O_EXCL); err != nil {
		return nil, err
	}
	if err = setLock(d.Lock); err != nil {
		return nil, err
	}
	if err = d.write(recordName, r); err != nil {
		return nil, err
	}
	d.Path = filepath.Join(parent, r.ID)
	if err = os.Rename(temp, d.Path); err != nil {
		return nil, err
	}
	if r.Kept {
		err = atomicfile.SyncDir(parent)
	}
	return d, err
}

// List returns all VMs, oldest first. Directories that are no VM's, or of another
// version, are left out.
func (s *Store) List() ([]*Dir, error) {
	var all []*Dir
	for _, parent := range []string{s.running, s.kept} {
		entries, err := os.ReadDir(parent)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list VMs: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && names.IsID(e.Name()) {
				if d, err := Load(filepath.Join(parent, e.Name())); err == nil {
					all = append(all, d)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b *Dir) int { return a.Record.Created.Compare(b.Record.Created) })
	return all, nil
}

// Load reads the record in a VM's directory.
func Load(path string) (*Dir, error) {
	d := &Dir{Path: path, Record: Record{ID: filepath.Base(path)}}
	err := d.read(recordName, &d.Record)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: %s", ErrNotFound, d.Record.ID)
	}
	return d, err
}

// Find returns the VM with a name, an id, or the only id that begins so (with 4
// digits or more).
func (s *Store) Find(name string) (*Dir, error) {
	if names.IsID(name) {
		for _, parent := range []string{s.running, s.kept} {
			d, err := Load(filepath.Join(parent, name))
			if err == nil || !errors.Is(err, ErrNotFound) {
				return d, err
			}
		}
	}
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	found := names.Match(all, name, func(d *Dir) (id, name string) { return d.Record.ID, d.Record.Name })
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %q (holt ps -a lists all)", ErrNotFound, name)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d VMs have ids that begin with %q: give more of it", len(found), name)
}

// Rename gives the VM another name. An empty one takes the name away.
func (s *Store) Rename(ctx context.Context, d *Dir, name string) error {
	done, err := s.reserve(ctx, name, d.Record.ID)
	if err != nil {
		return err
	}
	defer done()
	// As it is now: somebody may have renamed it meanwhile.
	now, err := Load(d.Path)
	if err != nil {
		return err
	}
	now.Record.Name = name
	err = now.write(recordName, now.Record)
	if errors.Is(err, os.ErrNotExist) { // somebody has removed it this moment
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("rename VM %s: %w", d.Record.Label(), err)
	}
	d.Record.Name = name
	return nil
}

// Remove deletes the directory, whose lock must be held, and gives the lock up.
// Nobody sees half of it.
func (d *Dir) Remove() error {
	err := atomicfile.RemoveDir(d.Path)
	d.Unlock()
	return err
}

// Sweep removes what dead VMs have left that are not kept, or were to be removed in the
// end, and unfinished directories. It returns their names.
func (s *Store) Sweep() (removed []string, err error) {
	var errs []error
	for _, parent := range []string{s.running, s.kept} {
		entries, err := os.ReadDir(parent)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, fmt.Errorf("look for dead VMs: %w", err)
		}
		for _, e := range entries {
			gone, err := sweep(filepath.Join(parent, e.Name()), e, parent == s.running)
			if err != nil {
				errs = append(errs, fmt.Errorf("clean up a dead VM: %w", err))
			} else if gone {
				removed = append(removed, e.Name())
			}
		}
	}
	return removed, errors.Join(errs...)
}

// sweep removes one directory if it is an unfinished one, or a dead VM's that does not
// stay.
func sweep(path string, e os.DirEntry, running bool) (gone bool, err error) {
	switch {
	case !e.IsDir():
	case strings.HasPrefix(e.Name(), atomicfile.TempPrefix):
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) > unfinishedAge {
			return true, os.RemoveAll(path)
		}
	case running && names.IsID(e.Name()):
		// Its record may be missing or of another version: only the lock counts.
		d := &Dir{Path: path, Record: Record{ID: e.Name()}}
		if d.TryLock() == nil {
			return true, d.Remove()
		}
	case names.IsID(e.Name()):
		if d, err := Load(path); err == nil && d.Record.Remove && d.TryLock() == nil {
			defer d.Unlock()
			if s, err := d.Status(); err == nil && s.State == Stopped {
				return true, d.Remove()
			}
		}
	}
	return false, nil
}
