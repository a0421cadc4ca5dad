// Package atomicfile makes files and directories appear whole or not at all:
// they are written under a temporary name, synced, and renamed into place.
package atomicfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// TempPrefix begins the name of every file and directory that is not finished
// yet. Whatever lists a directory must skip names that begin with it.
const TempPrefix = ".tmp-"

// File is a file being written. It has no effect on its final path until
// Commit.
type File struct {
	*os.File
	path string
	done bool
}

// Create starts a file that will be at path, with the permission bits of
// mode whatever the umask is. The directory of path must exist. The caller
// must call Close, and Commit before it to keep the file.
func Create(path string, mode fs.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), TempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return nil, err
	}
	file := &File{File: f, path: path}
	if err := f.Chmod(mode.Perm()); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// Commit syncs the file and puts it at its path, replacing what was there.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return SyncDir(filepath.Dir(f.path))
}

// Close closes the file, and removes it unless it was committed.
func (f *File) Close() error {
	if !f.done {
		os.Remove(f.Name())
	}
	return f.File.Close()
}

// WriteFile writes data to path atomically.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if err := f.Commit(); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}
