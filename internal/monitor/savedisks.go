package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// saveDisks copies every disk that the guest may write into a file of its own, made by
// create for its serial, and hands each to done. The machine stands still.
func (a *assembly) saveDisks(ctx context.Context, create func(name string) (*os.File, error), done func(*os.File) error) (names []string, err error) {
	for _, d := range a.disks {
		if d.readOnly {
			continue // a clone opens it, too
		}
		f, err := create(d.name)
		if err != nil {
			return names, err
		}
		if err := d.image.CopyTo(ctx, f); err != nil {
			f.Close()
			return names, fmt.Errorf("copy disk %s: %w", d.name, err)
		}
		if err := done(f); err != nil {
			return names, err
		}
		names = append(names, d.name)
	}
	return names, nil
}

// unnamed makes a file in dir that goes when the last who has it open does.
func unnamed(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "unnamed")), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, &os.PathError{Op: "create a temporary file in", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, ".unnamed-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
