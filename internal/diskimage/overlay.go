package diskimage

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/holtvm/holt/internal/tempfile"
)

// maxOverlay is the largest disk that an Overlay has, in bytes: what ext4 has as a
// file. Its bitmap has 512 MiB of address space then.
const maxOverlay = 16 << 40

// Overlay is a disk with the content of a base image, until it is written: that goes to
// a file without a name, which nobody else sees and which is gone when the process has
// ended. So any number of disks share one base, each with changes of its own.
//
// Its methods are those of a [File] and may be called likewise. There is no lock on
// the base, which must stay as it is.
type Overlay struct {
	base, top *File
	own       bitmap // the blocks that are in top; the others are in base

	// mu is held for writing while a block moves from base to top, for reading by what
	// writes top, so that a block that moves never replaces one that was written.
	mu sync.RWMutex
}

// OpenOverlay makes a disk of size bytes above base, a regular file of at least as
// many, which stays the caller's and must outlive the Overlay. size is a multiple of
// 512, above 0 and up to 16 TiB. Changes are kept in the directory dir.
func OpenOverlay(base *os.File, size int64, dir string) (*Overlay, error) {
	o, err := openOverlay(base, size, dir)
	if err != nil {
		return nil, fmt.Errorf("overlay of disk %s: %w", base.Name(), err)
	}
	return o, nil
}

func openOverlay(base *os.File, size int64, dir string) (*Overlay, error) {
	fi, err := base.Stat()
	switch {
	case err != nil:
		return nil, bare(err)
	case size <= 0 || size%sectorSize != 0 || size > maxOverlay:
		return nil, fmt.Errorf("size is %d bytes: must be a multiple of %d up to %d", size, sectorSize, int64(maxOverlay))
	case !fi.Mode().IsRegular() || fi.Size() < size:
		return nil, fmt.Errorf("is not a regular file of %d bytes", size)
	}
	file, err := tempfile.In(dir)
	if err != nil {
		return nil, fmt.Errorf("make a file for changes in %s: %w", dir, bare(err))
	}
	if err := file.Truncate(size); err != nil {
		file.Close()
		return nil, fmt.Errorf("make a file of %d bytes for changes in %s: %w", size, dir, bare(err))
	}
	o := &Overlay{base: plain(base, size), top: plain(file, size), own: newBitmap((size + blockSize - 1) / blockSize)}
	o.top.path = fmt.Sprintf("%s (its changes, in %s)", base.Name(), dir)
	return o, nil
}

// Size is the disk's size, as OpenOverlay got it, in bytes.
func (o *Overlay) Size() int64 { return o.top.size }

// ReadAtv fills bufs, one after the other, from offset off on.
func (o *Overlay) ReadAtv(bufs [][]byte, off int64) error {
	_, err := o.read(bufs, off, func(f *File, bufs [][]byte, off int64) (bool, error) {
		return true, f.ReadAtv(bufs, off)
	})
	return err
}

// TryRead is ReadAtv if that is not expected to wait for the host's disk. Otherwise it
// reports false, and what is in bufs has no meaning.
func (o *Overlay) TryRead(bufs [][]byte, off int64) (done bool, err error) {
	return o.read(bufs, off, (*File).TryRead)
}

// read calls one for each piece of a range with the file that it is in, until it is
// not done.
func (o *Overlay) read(bufs [][]byte, off int64, one func(*File, [][]byte, int64) (bool, error)) (done bool, err error) {
	for end := off + length(bufs); off < end; {
		f, to := o.where(off, end)
		piece := bufs
		if to < end {
			piece, bufs = split(bufs, to-off)
		}
		if done, err := one(f, piece, off); !done || err != nil {
			return done, err
		}
		off = to
	}
	return true, nil
}

// where returns the file that has the byte at from, and the end of what it has there.
func (o *Overlay) where(from, end int64) (f *File, to int64) {
	block, last := from/blockSize, (end+blockSize-1)/blockSize
	own := o.own.has(block)
	f = o.base
	if own {
		f = o.top
	}
	// Not from block on: it may have been written just now.
	return f, min(end, o.own.next(block+1, last, !own)*blockSize)
}

// length is how many bytes bufs have.
func length(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// split returns the first n bytes of bufs, and the others.
func split(bufs [][]byte, n int64) (first, rest [][]byte) {
	for i, b := range bufs {
		if int64(len(b)) > n {
			first = append(append(first, bufs[:i]...), b[:n])
			rest = append(append(rest, b[n:]), bufs[i+1:]...)
			return first, rest
		}
		n -= int64(len(b))
	}
	return bufs, nil
}

// CopyTo makes dst a copy of the disk as it is now, as [File.CopyTo] does.
func (o *Overlay) CopyTo(ctx context.Context, dst *os.File) error {
	c := copier{ctx: ctx, dst: plain(dst, o.Size())}
	err := c.begin(o.base)
	if err == nil {
		err = o.copy(&c)
	}
	if err != nil {
		return fmt.Errorf("copy disk %s: %w", o.base.path, err)
	}
	return nil
}

// copy does what c has to do after it began with the base.
func (o *Overlay) copy(c *copier) error {
	for off := int64(0); off < o.Size(); {
		f, to := o.where(off, o.Size())
		if f == o.top && c.shared != nil {
			// What top has as a hole is zero, and not what the base has there.
			if err := c.dst.WriteZeroes(off, to-off, true); err != nil {
				return err
			}
		}
		if err := c.copy(f, off, to); err != nil {
			return err
		}
		off = to
	}
	return nil
}

// Close forgets what was written. No other method may run, or be called afterwards.
func (o *Overlay) Close() error { return o.top.f.Close() }
