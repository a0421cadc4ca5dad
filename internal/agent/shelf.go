package agent

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shelfDir is the directory of the initramfs that has the files that are mounted over
// those of a root which is not the guest's own.
const shelfDir = "/etcfiles"

// shelf is a directory in guest memory that no program sees. It is made when it is needed
// for the first time.
type shelf struct {
	initramfs int // where it is, also when that is the root no more
	dir       int // a tmpfs, once made
	made      bool
}

// openShelf returns the shelf of the initramfs that is unpacked in dir. It stays open as
// long as the guest lives.
func openShelf(dir string) (shelf, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return shelf{}, fmt.Errorf("open initramfs: %w", err)
	}
	return shelf{initramfs: fd}, nil
}

// put makes text the content of the shelf's file name, and returns a mount of it that is
// nowhere yet. All mounts of the file have the new text.
func (s *shelf) put(name, text string) (mount int, err error) {
	if err := s.make(); err != nil {
		return -1, err
	}
	fd, err := unix.Openat(s.dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1, fmt.Errorf("make %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return -1, err
	}
	if mount, err = unix.OpenTree(s.dir, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC); err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return mount, nil
}

func (s *shelf) make() error {
	if s.made {
		return nil
	}
	on, err := makeDir(s.initramfs, shelfDir)
	if err != nil {
		return fmt.Errorf("make %s: %w", shelfDir, err)
	}
	err = volume{"tmpfs", "etc", []string{"mode=0755"}, attrData}.attach(on)
	_ = unix.Close(on)
	if err != nil {
		return err
	}
	if s.dir, err = openDir(s.initramfs, shelfDir); err != nil {
		return fmt.Errorf("open %s: %w", shelfDir, err)
	}
	s.made = true
	return nil
}
