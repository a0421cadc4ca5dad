package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/holtvm/holt/internal/flock"
	"github.com/holtvm/holt/internal/names"
	"github.com/holtvm/holt/internal/paths"
)

// ErrNotFound says that there is no such snapshot.
var ErrNotFound = errors.New("no such snapshot")

// ExistsError says that a name is taken.
type ExistsError struct{ Name, ID string }

// Error implements error.
func (e *ExistsError) Error() string {
	return fmt.Sprintf("the name %q is in use by snapshot %s: remove that one, or choose another name", e.Name, e.ID)
}

// Store is a directory of snapshots.
type Store struct {
	dir string
	// step, in tests, is called after each step that a killed process could stop at.
	step func()
}

// Open returns the store of the user's snapshots, which need not exist yet.
func Open(dirs paths.Dirs) *Store { return OpenAt(filepath.Join(dirs.Data, "snapshots")) }

// OpenAt returns the store in a directory of its own, which need not exist yet.
func OpenAt(dir string) *Store { return &Store{dir: dir} }

// stepped marks the end of a step.
func (s *Store) stepped() {
	if s.step != nil {
		s.step()
	}
}

// Snapshot is a finished snapshot in a store.
type Snapshot struct {
	Manifest Manifest
	store    *Store
}

// Path is the snapshot's directory.
func (s *Snapshot) Path() string { return s.store.path(s.Manifest.ID) }

// path is where the snapshot with an id is.
func (s *Store) path(id string) string { return filepath.Join(s.dir, id) }

// lock keeps others from giving or taking names, and from adding or removing
// snapshots. The directory is made if it is missing.
func (s *Store) lock(ctx context.Context) (*flock.Lock, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return flock.Acquire(ctx, filepath.Join(s.dir, ".names.lock"))
}

// checkFree fails if a name is one, and is taken. The lock must be held.
func (s *Store) checkFree(name string) error {
	if name == "" {
		return nil
	}
	all, err := s.List()
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.Manifest.Name == name {
			return &ExistsError{name, other.Manifest.ID}
		}
	}
	return nil
}

// List returns all snapshots, oldest first. Directories that are none, or of another
// version, are left out.
func (s *Store) List() ([]*Snapshot, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []*Snapshot
	for _, e := range entries {
		if e.IsDir() && names.IsID(e.Name()) {
			if one, err := s.load(e.Name()); err == nil {
				all = append(all, one)
			}
		}
	}
	slices.SortFunc(all, func(a, b *Snapshot) int {
		return cmp.Or(a.Manifest.Created.Compare(b.Manifest.Created), cmp.Compare(a.Manifest.ID, b.Manifest.ID))
	})
	return all, nil
}

// load reads the manifest of the snapshot with an id.
func (s *Store) load(id string) (*Snapshot, error) {
	one := &Snapshot{store: s}
	f, _, err := openFile(s.path(id), manifestName)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil {
		one.Manifest, err = decodeManifest(text)
	}
	if err == nil {
		err = one.Manifest.checkSections()
	}
	if err == nil && one.Manifest.ID != id {
		err = fmt.Errorf("manifest: its id is %s", one.Manifest.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", id, err)
	}
	return one, nil
}

// Find returns the snapshot with a name, an id, or the only id that begins so (with 4
// digits or more). The error is [ErrNotFound] if there is none.
func (s *Store) Find(name string) (*Snapshot, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: its name is empty", ErrNotFound)
	}
	if names.IsID(name) {
		return s.load(name)
	}
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	found := names.Match(all, name, func(s *Snapshot) (id, name string) { return s.Manifest.ID, s.Manifest.Name })
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %q (holt snapshot ls lists all)", ErrNotFound, name)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%d snapshots have ids that begin with %q: give more of it", len(found), name)
}
