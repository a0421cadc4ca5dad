package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// SyncDir makes renames and removals inside dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// MkdirTemp creates an unfinished directory inside parent, mode 0700.
func MkdirTemp(parent string) (string, error) {
	return os.MkdirTemp(parent, TempPrefix+"*")
}

// CommitDir syncs the directory tree at temp and renames it to path. What was
// at path is replaced, so that path names one or the other at every moment.
// Both must be in the same directory; writers of path must exclude each other.
func CommitDir(temp, path string) error {
	if err := syncTree(temp); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	err := unix.Rename(temp, path) // os.Rename refuses directories
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		err = replaceDir(temp, path)
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

func replaceDir(temp, path string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE)
	if err == nil {
		return os.RemoveAll(temp)
	}
	// Network file systems cannot exchange; there, path is missing for a moment.
	if err := RemoveDir(path); err != nil {
		return err
	}
	return unix.Rename(temp, path)
}

// RemoveDir removes the directory at path so that nobody sees it half empty.
func RemoveDir(path string) error {
	grave, err := MkdirTemp(filepath.Dir(path))
	if err != nil {
		return err
	}
	// Rename replaces the empty directory.
	err = unix.Rename(path, grave)
	if errors.Is(err, unix.EXDEV) {
		// overlayfs does not rename a directory that is on its lower layer: there
		// it goes piece by piece.
		err = os.RemoveAll(path)
	}
	if err != nil {
		os.Remove(grave)
		return err
	}
	return os.RemoveAll(grave)
}

// RemoveStale removes what interrupted writers left unfinished in dir. The
// caller must know that no writer is at work there.
func RemoveStale(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		return SyncDir(path) // opening and syncing is the same for files
	})
}
