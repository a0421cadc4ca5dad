package diskimage

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxVectors is how many buffers one system call takes (at most IOV_MAX, 1024): a
// megabyte of single pages.
const maxVectors = 256

// vectors are lent to one call at a time, so that none allocates any.
var vectors = sync.Pool{New: func() any { return new([maxVectors]unix.Iovec) }}

// vectored is preadv2 or pwritev2.
type vectored func(fd int, iov []unix.Iovec, off int64, flags int) (int, unix.Errno)

// ReadAtv fills bufs, one after the other, from offset off on.
func (f *File) ReadAtv(bufs [][]byte, off int64) error {
	defer f.reads.time(time.Now(), tooLong)
	if err := f.all(preadv, bufs, off); err != nil {
		return fmt.Errorf("disk %s: read: %w", f.path, err)
	}
	return nil
}

// WriteAtv writes bufs, one after the other, from offset off on. They reach the
// disk with the next Flush.
func (f *File) WriteAtv(bufs [][]byte, off int64) error {
	defer f.writes.time(time.Now(), tooLong)
	if err := f.all(pwritev, bufs, off); err != nil {
		return fmt.Errorf("disk %s: write: %w", f.path, err)
	}
	return nil
}

// all moves all bytes of bufs, however many calls it takes.
func (f *File) all(call vectored, bufs [][]byte, off int64) error {
	iov := vectors.Get().(*[maxVectors]unix.Iovec)
	defer vectors.Put(iov)
	skip := 0 // bytes of bufs[0] that are done
	for {
		for len(bufs) > 0 && skip >= len(bufs[0]) {
			skip -= len(bufs[0])
			bufs = bufs[1:]
		}
		if len(bufs) == 0 {
			return nil
		}
		n, errno := call(f.fd, fill(iov, bufs, skip), off, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return errno
		case n == 0:
			return fmt.Errorf("%w at %d of %d bytes: somebody made the file smaller", io.ErrUnexpectedEOF, off, f.size)
		}
		off += int64(n)
		skip += n
	}
}

// readCached is ReadAtv if all of it is in the host's page cache.
func (f *File) readCached(bufs [][]byte, off int64) bool {
	if len(bufs) > maxVectors {
		return false
	}
	want := 0
	for _, b := range bufs {
		want += len(b)
	}
	iov := vectors.Get().(*[maxVectors]unix.Iovec)
	defer vectors.Put(iov)
	n, errno := preadv(f.fd, fill(iov, bufs, 0), off, unix.RWF_NOWAIT)
	return errno == 0 && n == want
}

// tellsCached reports whether readCached ever succeeds: on some file systems it
// does not.
func tellsCached(fd int) bool {
	var b [1]byte
	iov := [1]unix.Iovec{{Base: &b[0], Len: 1}}
	_, errno := preadv(fd, iov[:], 0, unix.RWF_NOWAIT)
	return errno == 0 || errno == unix.EAGAIN
}

// fill makes vectors of as many bufs as there is room for, without the first skip
// bytes.
func fill(iov *[maxVectors]unix.Iovec, bufs [][]byte, skip int) []unix.Iovec {
	n := 0
	for _, b := range bufs[:min(len(bufs), maxVectors)] {
		b, skip = b[skip:], 0
		if len(b) == 0 {
			continue
		}
		iov[n].Base = &b[0]
		iov[n].SetLen(len(b))
		n++
	}
	return iov[:n]
}
