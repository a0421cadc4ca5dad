package diskimage

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Identity tells whether what a path leads to is the image that was there, and whether
// it changed.
type Identity struct {
	Size int64 // bytes
	// Dev and Ino are the file's; of a block device they are the device's own number
	// and 0, whatever file stands for it.
	Dev, Ino uint64
	// ModTime is when the file was last written; zero for a block device, which does
	// not say.
	ModTime time.Time
}

// Identify returns who the image at path is. It needs no lock.
func Identify(path string) (Identity, error) {
	id, err := identify(path)
	if err != nil {
		return Identity{}, fmt.Errorf("disk %s: %w", path, err)
	}
	return id, nil
}

func identify(path string) (Identity, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return Identity{}, bare(err)
	}
	device, err := isDevice(fi)
	if err != nil {
		return Identity{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	if !device {
		return Identity{st.Size, st.Dev, st.Ino, fi.ModTime()}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return Identity{}, fmt.Errorf("open: %w", bare(err))
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Identity{}, fmt.Errorf("find its size: %w", bare(err))
	}
	return Identity{Size: size, Dev: st.Rdev}, nil
}
