// Package diskimage opens raw disk images on the host: regular files and block
// devices whose bytes are the disk's, whatever they look like. It locks an image
// against a second writer, and reads and writes it for many goroutines at once.
package diskimage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// sectorSize is the unit of a disk's size, in bytes (virtio 1.2, 5.2.4).
const sectorSize = 512

// File is an open image. Its methods may be called from any goroutine; every error
// names the file. Offsets and lengths are the caller's to keep within Size: that way
// nothing makes a regular file grow.
type File struct {
	f    *os.File
	fd   int
	path string
	size int64

	tellsCached bool // readCached makes sense
	reads       pace
	writes      pace
	flushes     pace
	flushing    atomic.Int32 // calls that make writes wait
}

// Open opens the image at path and locks it until Close, or until the process
// ends: against everybody else, or if it is readOnly against those who write.
// ErrInUse is wrapped by the error of an image that is locked.
func Open(path string, readOnly bool) (*File, error) {
	f, err := open(path, readOnly)
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", path, err)
	}
	return f, nil
}

func open(path string, readOnly bool) (*File, error) {
	// The kind comes first: opening some other file may block or do something.
	fi, err := os.Stat(path)
	if err != nil {
		return nil, bare(err)
	}
	device, err := isDevice(fi)
	if err != nil {
		return nil, err
	}
	flags := os.O_RDWR
	switch {
	case readOnly:
		flags = os.O_RDONLY
	case device:
		flags |= unix.O_EXCL // fails if it is mounted, or part of something
	}
	file, err := os.OpenFile(path, flags, 0)
	switch {
	case err == nil:
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("%w: the device is mounted, or part of another device", ErrInUse)
	case !readOnly && (errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS)):
		return nil, fmt.Errorf("open for writing: %w (a read-only disk needs no permission to write)", bare(err))
	default:
		return nil, fmt.Errorf("open: %w", bare(err))
	}
	f := &File{f: file, fd: int(file.Fd()), path: path}
	if err := f.prepare(readOnly); err != nil {
		file.Close()
		return nil, err
	}
	return f, nil
}

// isDevice tells the two kinds of image apart; another file is an error.
func isDevice(fi os.FileInfo) (bool, error) {
	switch fi.Mode() & (os.ModeType | os.ModeCharDevice) {
	case 0:
		return false, nil
	case os.ModeDevice:
		return true, nil
	case os.ModeDir:
		return false, errors.New("is a directory: a disk is an image file or a block device")
	}
	return false, fmt.Errorf("is neither a regular file nor a block device (%v)", fi.Mode())
}

// prepare locks the open file and finds its size.
func (f *File) prepare(readOnly bool) error {
	fi, err := f.f.Stat() // the path may name another file by now
	if err != nil {
		return bare(err)
	}
	device, err := isDevice(fi)
	if err != nil {
		return err
	}
	if err := lock(f.fd, readOnly); err != nil {
		return err
	}
	size := fi.Size()
	if device {
		if size, err = f.f.Seek(0, io.SeekEnd); err != nil {
			return fmt.Errorf("find its size: %w", bare(err))
		}
	}
	switch {
	case size == 0:
		return fmt.Errorf("is empty: give it the size that the disk shall have (truncate -s 1G %s)", f.path)
	case size%sectorSize != 0:
		return fmt.Errorf("its size is %d bytes, not a multiple of %d: fill it up (truncate -s %%%d %s)", size, sectorSize, sectorSize, f.path)
	}
	f.measure(size)
	return nil
}

// measure sets the size, and finds out what calls may wait.
func (f *File) measure(size int64) {
	f.size = size
	f.tellsCached = tellsCached(f.fd)
	f.flushes.waited.Store(true) // until one proves that it need not
}

// plain is a file of size bytes, without a lock, that stays the caller's.
func plain(file *os.File, size int64) *File {
	f := &File{f: file, fd: int(file.Fd()), path: file.Name()}
	f.measure(size)
	return f
}

// bare is err without the path, which the caller names.
func bare(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// Size is the disk's size in bytes: a multiple of 512, more than 0, and the
// same until Close.
func (f *File) Size() int64 { return f.size }

// Close gives the image up. No other method may run, or be called afterwards.
func (f *File) Close() error {
	unlock(f.fd)
	return f.f.Close()
}
