package snapshot

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
)

// InUseError says that other snapshots lie on one.
type InUseError struct {
	Label    string
	Children []string // labels, oldest first
}

// Error implements error.
func (e *InUseError) Error() string {
	return fmt.Sprintf("snapshot %s is needed by %s: remove those first", e.Label, strings.Join(e.Children, ", "))
}

// Remove deletes a snapshot. Nobody sees half of it, and who has opened it can go on
// with that. It fails with an *[InUseError] if others lie on it, and with [ErrNotFound]
// if it is not there any more.
func (s *Store) Remove(ctx context.Context, one *Snapshot) error {
	names, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("remove snapshot %s: %w", one.Manifest.Label(), err)
	}
	defer names.Unlock()
	all, err := s.List()
	if err != nil {
		return err
	}
	return s.remove(one, all)
}

// remove deletes a snapshot if none of all lies on it. The lock of the names must be
// held.
func (s *Store) remove(one *Snapshot, all []*Snapshot) error {
	var children []string
	for _, other := range all {
		if other.Manifest.Parent == one.Manifest.ID {
			children = append(children, other.Manifest.Label())
		}
	}
	if children != nil {
		return &InUseError{one.Manifest.Label(), children}
	}
	err := atomicfile.RemoveDir(s.path(one.Manifest.ID))
	if errors.Is(err, os.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("remove snapshot %s: %w", one.Manifest.Label(), err)
	}
	return nil
}

// Sweep removes what dead processes left unfinished, and returns the names of it.
func (s *Store) Sweep(ctx context.Context) (removed []string, err error) {
	names, err := s.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for unfinished snapshots: %w", err)
	}
	dead, err := s.dead()
	names.Unlock() // what is dead stays so
	if err == nil {
		err = removeAll(dead)
	}
	if err != nil {
		return nil, fmt.Errorf("clean up unfinished snapshots: %w", err)
	}
	for _, path := range dead {
		removed = append(removed, filepath.Base(path))
	}
	return removed, nil
}

// inUse is how long after its last use a snapshot may still be needed by somebody who
// has found it and not opened it yet.
const inUse = time.Minute

// Used marks the snapshot as used now, for Prune.
func (s *Snapshot) Used() error {
	now := time.Now()
	return os.Chtimes(filepath.Join(s.Path(), manifestName), now, now)
}

// Prune removes all but the keep most recently used snapshots, for a store that is a
// cache. It leaves those that others lie on, and those used in the last minute. It
// returns the labels of what it removed.
func (s *Store) Prune(ctx context.Context, keep int) (removed []string, err error) {
	names, err := s.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("prune snapshots: %w", err)
	}
	defer names.Unlock()
	all, err := s.List()
	if err != nil {
		return nil, err
	}
	used := map[*Snapshot]time.Time{}
	for _, one := range all {
		info, err := os.Stat(filepath.Join(one.Path(), manifestName))
		if err != nil {
			return nil, fmt.Errorf("prune snapshots: %w", err)
		}
		used[one] = info.ModTime()
	}
	recent := slices.SortedFunc(slices.Values(all), func(a, b *Snapshot) int { return used[b].Compare(used[a]) })
	for _, one := range recent[min(keep, len(recent)):] {
		if time.Since(used[one]) < inUse {
			continue
		}
		err := s.remove(one, all)
		if _, ok := errors.AsType[*InUseError](err); ok {
			continue
		}
		if err != nil {
			return removed, err
		}
		removed = append(removed, one.Manifest.Label())
	}
	return removed, nil
}
