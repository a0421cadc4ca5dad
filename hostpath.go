package holt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/cpioroot"
)

// Each check in this file returns what is wrong with a path on the host as
// "must …", followed by the cause. The path itself is left out: the FieldError
// around it names it.

func checkDirectory(path string) error {
	return checkKind(path, "an existing directory", fs.FileMode.IsDir)
}

func checkRegularFile(path string) error {
	return checkKind(path, "an existing regular file", fs.FileMode.IsRegular)
}

func checkKind(path, want string, is func(fs.FileMode) bool) error {
	if err := checkNUL(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("must be %s: %w", want, cause(err))
	}
	if !is(info.Mode()) {
		return fmt.Errorf("must be %s: it is %s", want, kind(info.Mode()))
	}
	return nil
}

// checkArchive looks at the first bytes of a root filesystem. What else may be wrong
// with it is the start's business.
func checkArchive(path string) error {
	if err := checkNUL(path); err != nil {
		return err
	}
	return cpioroot.Check(path)
}

// checkImage looks whether path could be a disk. Whether its size is a disk's, and
// whether another VM has it, is the start's business.
func checkImage(path string, readOnly bool) error {
	if err := checkNUL(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("must be an existing disk image or block device: %w", cause(err))
	}
	mode := info.Mode()
	if block := mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0; !mode.IsRegular() && !block {
		return fmt.Errorf("must be an existing disk image or block device: it is %s", kind(mode))
	}
	access, want := uint32(unix.R_OK), "readable"
	if !readOnly {
		access, want = unix.R_OK|unix.W_OK, "writable, or be given with :ro"
	}
	if err := unix.Access(path, access); err != nil {
		return fmt.Errorf("must be %s: %w", want, err)
	}
	return nil
}

// checkOutputFile finds out whether path could be created or truncated, and
// does neither: a configuration that is only checked must not cost a file.
func checkOutputFile(path string) error {
	if err := checkNUL(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return errors.New("must be a file: it is a directory")
	case err == nil:
		if err := unix.Access(path, unix.W_OK); err != nil {
			return fmt.Errorf("must be writable: %w", err)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("must be a writable file: %w", cause(err))
	}
	dir := filepath.Dir(path)
	if err := checkDirectory(dir); err != nil {
		return fmt.Errorf("its directory %w", err)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("its directory must be writable: %w", err)
	}
	return nil
}

// cause strips the operation and the path from a file error.
func cause(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode.IsRegular():
		return "a regular file"
	}
	return "neither a regular file nor a directory"
}
