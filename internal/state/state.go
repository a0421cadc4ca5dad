// Package state keeps one directory per running VM below the runtime directory.
//
// A VM's directory holds a lock file that its monitor keeps locked for its whole
// life, and vm.json, which says what runs there. The kernel gives the lock up
// when the monitor dies, however it dies; so a directory whose lock is free
// belongs to a dead VM, and whoever comes by removes it with [Sweep].
package state

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/atomicfile"
)

const (
	lockName = "lock"
	infoName = "vm.json"

	// unfinishedAge is how old a directory under a temporary name must be to
	// count as left behind: making one takes milliseconds.
	unfinishedAge = time.Minute
)

// Info is what vm.json says.
type Info struct {
	ID      string    `json:"id"` // 12 hexadecimal digits; the directory's name
	Created time.Time `json:"created"`
	Root    string    `json:"root"`    // the host directory that is the guest's /
	Command []string  `json:"command"` // the program and its arguments
}

// Dir is a VM's own directory, with its lock held.
type Dir struct {
	Path string
	Info Info
	// Lock is the locked file. Whoever has it open, in whichever process,
	// keeps the VM alive in the eyes of others.
	Lock *os.File
}

// Create makes a directory for a new VM below runtime, which must exist, and
// locks it. It fills in info's ID and Created.
func Create(runtime string, info Info) (*Dir, error) {
	var id [6]byte
	rand.Read(id[:])
	info.ID, info.Created = hex.EncodeToString(id[:]), time.Now().UTC()
	d, err := create(runtime, info)
	if err != nil {
		return nil, fmt.Errorf("create the VM's directory in %s: %w", runtime, err)
	}
	return d, nil
}

func create(runtime string, info Info) (_ *Dir, err error) {
	temp, err := atomicfile.MkdirTemp(runtime)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
		}
	}()
	lock, err := os.OpenFile(filepath.Join(temp, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return nil, err
	}
	// Not synced: after a crash of the machine the VM is gone anyway.
	if err = os.WriteFile(filepath.Join(temp, infoName), append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	path := filepath.Join(runtime, info.ID)
	// The directory appears with its lock held, so Sweep never takes a new one
	// for a dead one.
	if err = os.Rename(temp, path); err != nil {
		return nil, err
	}
	return &Dir{Path: path, Info: info, Lock: lock}, nil
}

// Remove deletes the directory and gives the lock up.
func (d *Dir) Remove() error {
	err := os.RemoveAll(d.Path)
	return errors.Join(err, d.Lock.Close())
}

// Sweep removes the directories of dead VMs and returns their IDs. A runtime
// directory that does not exist holds none.
func Sweep(runtime string) (removed []string, err error) {
	entries, err := os.ReadDir(runtime)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for dead VMs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(runtime, e.Name())
		if !e.IsDir() || !dead(e, path) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			errs = append(errs, fmt.Errorf("clean up a dead VM: %w", err))
			continue
		}
		removed = append(removed, e.Name())
	}
	return removed, errors.Join(errs...)
}

// dead says whether nobody owns the directory any more.
func dead(e os.DirEntry, path string) bool {
	if strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
		info, err := e.Info()
		return err == nil && time.Since(info.ModTime()) > unfinishedAge
	}
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false // not ours, or somebody else is removing it
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
