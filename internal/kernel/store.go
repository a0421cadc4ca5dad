package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/flock"
	"github.com/holtvm/holt/internal/paths"
)

// defaultFile names the default kernel.
const defaultFile = ".default"

// Store is the directory of all kernels. Readers need no lock, because
// kernels appear and vanish whole; writers exclude each other.
type Store struct {
	dir   string // <data>/kernels
	cache string
}

// Open returns the store of dirs. It creates nothing.
func Open(dirs paths.Dirs) *Store {
	return &Store{dir: filepath.Join(dirs.Data, "kernels"), cache: dirs.Cache}
}

// List returns all kernels, the newest first. Those that cannot be read are
// left out; the error says why, and the others are returned with it.
func (s *Store) List() ([]Kernel, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list kernels: %w", err)
	}
	var kernels []Kernel
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		k, err := s.Get(e.Name())
		if errors.Is(err, ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		kernels = append(kernels, k)
	}
	slices.SortStableFunc(kernels, func(a, b Kernel) int { return b.Created.Compare(a.Created) })
	return kernels, errors.Join(errs...)
}

// Get returns a kernel by name, or ErrNotFound.
func (s *Store) Get(name string) (Kernel, error) {
	if !validName(name) {
		return Kernel{}, fmt.Errorf("kernel %q: %w", name, ErrNotFound)
	}
	k, err := load(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, fmt.Errorf("kernel %q: %w", name, ErrNotFound)
	}
	return k, err
}

// Default returns the kernel that SetDefault chose, or else the newest. It
// returns ErrNoKernel if there is none.
func (s *Store) Default() (Kernel, error) {
	name, err := os.ReadFile(filepath.Join(s.dir, defaultFile))
	if err == nil {
		// A default that has been removed is no default.
		if k, err := s.Get(strings.TrimSpace(string(name))); !errors.Is(err, ErrNotFound) {
			return k, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Kernel{}, fmt.Errorf("find default kernel: %w", err)
	}
	kernels, err := s.List()
	if len(kernels) > 0 {
		return kernels[0], nil // whatever is wrong with the others
	}
	if err != nil {
		return Kernel{}, err
	}
	return Kernel{}, ErrNoKernel
}

// SetDefault makes a kernel the default. It returns ErrNotFound if the store
// does not have it.
func (s *Store) SetDefault(ctx context.Context, name string) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := s.Get(name); err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(s.dir, defaultFile), []byte(name+"\n"), 0o644)
}

// Remove deletes a kernel. Guests that run it keep running. It returns
// ErrNotFound if the store does not have it.
func (s *Store) Remove(ctx context.Context, name string) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	// A kernel that cannot be read can still be removed.
	if !validName(name) {
		return fmt.Errorf("kernel %q: %w", name, ErrNotFound)
	}
	err = atomicfile.RemoveDir(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("remove kernel: %w", err)
	}
	return nil
}

// lock waits for the writers' lock and creates the store if need be.
func (s *Store) lock(ctx context.Context) (*flock.Lock, error) {
	return lockDir(ctx, s.dir)
}

// lockDir creates dir, locks it, and clears away what dead writers left.
func lockDir(ctx context.Context, dir string) (*flock.Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create kernel directory: %w", err)
	}
	lock, err := flock.Acquire(ctx, filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	if err := atomicfile.RemoveStale(dir); err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("clean kernel directory: %w", err)
	}
	return lock, nil
}
