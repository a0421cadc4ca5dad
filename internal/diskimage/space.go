package diskimage

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// zeroPiece is how many zeros are written at a time where the file system has
// nothing better, in bytes.
const zeroPiece = 256 << 10

// Flush returns when everything written so far is on the disk.
func (f *File) Flush() error {
	f.flushing.Add(1)
	defer f.flushing.Add(-1)
	defer f.flushes.time(time.Now(), tooLongToFlush)
	// The file's size never changes: what fdatasync leaves out is its times.
	if err := retry(func() error { return unix.Fdatasync(f.fd) }); err != nil {
		return fmt.Errorf("disk %s: flush: %w", f.path, err)
	}
	return nil
}

// Discard gives the space of n bytes from off on back to the host, as far as it can
// be: what they read as afterwards has no meaning. It is advice, so a file system or
// device that cannot is no error: the space stays in use.
func (f *File) Discard(off, n int64) error {
	if err := f.fallocate(unix.FALLOC_FL_PUNCH_HOLE, off, n); err != nil && !cannot(err) {
		return fmt.Errorf("disk %s: discard: %w", f.path, err)
	}
	return nil
}

// WriteZeroes makes n bytes from off on zero. With unmap it may give back their
// space; otherwise they keep it, or get it.
func (f *File) WriteZeroes(off, n int64, unmap bool) error {
	err := error(unix.EOPNOTSUPP)
	if unmap {
		err = f.fallocate(unix.FALLOC_FL_PUNCH_HOLE, off, n)
	}
	if cannot(err) {
		err = f.fallocate(unix.FALLOC_FL_ZERO_RANGE, off, n)
	}
	if cannot(err) {
		err = f.plainZeroes(off, n)
	}
	if err != nil {
		return fmt.Errorf("disk %s: write zeroes: %w", f.path, err)
	}
	return nil
}

// plainZeroes writes zeros.
func (f *File) plainZeroes(off, n int64) error {
	zeros := make([]byte, min(n, zeroPiece))
	bufs := make([][]byte, 1)
	for n > 0 {
		bufs[0] = zeros[:min(n, zeroPiece)]
		if err := f.all(pwritev, bufs, off); err != nil {
			return err
		}
		off += int64(len(bufs[0]))
		n -= int64(len(bufs[0]))
	}
	return nil
}

// fallocate keeps writes waiting, like a flush.
func (f *File) fallocate(mode uint32, off, n int64) error {
	f.flushing.Add(1)
	defer f.flushing.Add(-1)
	return retry(func() error { return unix.Fallocate(f.fd, mode|unix.FALLOC_FL_KEEP_SIZE, off, n) })
}

// cannot reports whether err is that of fallocate(2) where the file system does not
// have the operation, or the device only in larger units.
func cannot(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)
}

// retry calls f until no signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
