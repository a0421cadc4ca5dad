package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/guestmem"
)

// AddWorkingSet tells those who open the snapshot later which pages a guest needed soon
// after it went on. The first to tell is believed: it is no error to come second.
func (s *Snapshot) AddWorkingSet(ctx context.Context, runs []guestmem.Run) error {
	if err := s.addWorkingSet(ctx, runs); err != nil {
		return fmt.Errorf("add a working set to snapshot %s: %w", s.Manifest.Label(), err)
	}
	return nil
}

func (s *Snapshot) addWorkingSet(ctx context.Context, runs []guestmem.Run) error {
	b := guestmem.EncodeRuns(runs)
	if _, err := guestmem.DecodeRuns(b, s.Manifest.pages()); err != nil {
		return err
	}
	names, err := s.store.lock(ctx)
	if err != nil {
		return err
	}
	defer names.Unlock()
	path := filepath.Join(s.Path(), workingSetName)
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// It is written in the store's own directory, where it is cleaned up if this
	// process dies now.
	f, err := os.CreateTemp(s.store.dir, atomicfile.TempPrefix)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(b); err == nil {
		s.store.stepped()
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	if errors.Is(err, os.ErrNotExist) {
		err = ErrNotFound // somebody removed the snapshot before
	}
	return err
}

// workingSet returns what was added, or nil.
func (s *Snapshot) workingSet() []guestmem.Run {
	f, _, err := openFile(s.Path(), workingSetName)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRuns))
	if err != nil {
		return nil
	}
	runs, err := guestmem.DecodeRuns(b, s.Manifest.pages())
	if err != nil {
		return nil
	}
	return runs
}
