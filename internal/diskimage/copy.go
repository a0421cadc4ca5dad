package diskimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// blockSize is the unit of holes in a copy, and that of an Overlay, in bytes: what
	// most file systems of hosts and guests have.
	blockSize = 4096
	// copyPiece is how much the kernel copies at a time, in bytes: less than a second's
	// work, because the copy ends between two.
	copyPiece = 16 << 20
	// readPiece is how much is copied at a time by reading and writing, in bytes.
	readPiece = 1 << 20
)

// CopyTo makes dst, a regular file that is open for writing, a copy of the image, in
// place of what it had. Where the file system can, both share their blocks until one is
// written, and the copy takes no time and no space. Otherwise it has holes where the
// image has some, or where that is a block device with zeros.
//
// Nobody may write the image meanwhile. The error is ctx's when that ends before. The
// copy is in the host's page cache afterwards.
func (f *File) CopyTo(ctx context.Context, dst *os.File) error {
	c := copier{ctx: ctx, dst: plain(dst, f.size)}
	err := c.begin(f)
	if err == nil {
		err = c.copy(f, 0, f.size)
	}
	if err != nil {
		return fmt.Errorf("copy disk %s: %w", f.path, err)
	}
	return nil
}

// copier makes one copy.
type copier struct {
	ctx    context.Context
	dst    *File
	shared *File  // what dst shares all its blocks with, or nil
	buf    []byte // readPiece, once it is needed
	zero   [blockSize]byte
}

// begin makes dst share the blocks of src, if that can be. Otherwise dst is one hole. It
// has its size then.
func (c *copier) begin(src *File) error {
	end, err := unix.Seek(src.fd, 0, io.SeekEnd)
	switch {
	case err != nil:
		return err
	case end < src.size: // what is missing would look like a hole
		return fmt.Errorf("%w at %d of %d bytes: somebody made the file smaller", io.ErrUnexpectedEOF, end, src.size)
	}
	if err := unix.Ftruncate(c.dst.fd, 0); err != nil {
		return c.failed("truncate", err)
	}
	if unix.IoctlFileClone(c.dst.fd, src.fd) == nil {
		c.shared = src
	}
	if err := unix.Ftruncate(c.dst.fd, c.dst.size); err != nil {
		return c.failed("truncate", err)
	}
	return nil
}

// copy copies what src has between two offsets to where dst has holes, if it does not
// share it.
func (c *copier) copy(src *File, from, to int64) error {
	for src != c.shared && from < to {
		data, err := seek(src.fd, from, unix.SEEK_DATA, from)
		if errors.Is(err, unix.ENXIO) || data >= to { // holes up to the end
			return nil
		}
		if err != nil {
			return fmt.Errorf("look for holes: %w", err)
		}
		hole, err := seek(src.fd, data, unix.SEEK_HOLE, to)
		if err != nil {
			return fmt.Errorf("look for holes: %w", err)
		}
		hole = min(hole, to)
		if err := c.copyData(src, data, hole); err != nil {
			return err
		}
		from = hole
	}
	return nil
}

// seek is lseek(2), for data or a hole. Where the file system or device does not
// tell, the answer is otherwise.
func seek(fd int, off int64, whence int, otherwise int64) (int64, error) {
	at, err := unix.Seek(fd, off, whence)
	if cannot(err) {
		return otherwise, nil
	}
	return at, err
}

// copyData copies what is no hole.
func (c *copier) copyData(src *File, from, to int64) error {
	for from < to {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		r, w := from, from
		n, err := unix.CopyFileRange(src.fd, &r, c.dst.fd, &w, int(min(copyPiece, to-from)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || n == 0:
			// Between these two files it does not work, or what is wrong will show.
			n = int(min(readPiece, to-from))
			if err := c.readAndWrite(src, from, n); err != nil {
				return err
			}
		}
		from += int64(n)
	}
	return nil
}

// readAndWrite copies up to readPiece bytes, leaving out blocks of zeros.
func (c *copier) readAndWrite(src *File, off int64, n int) error {
	if c.buf == nil {
		c.buf = make([]byte, readPiece)
	}
	b := c.buf[:n]
	if err := src.ReadAtv([][]byte{b}, off); err != nil {
		return err
	}
	for len(b) > 0 {
		k := c.prefix(b, true)
		b, off = b[k:], off+int64(k)
		k = c.prefix(b, false)
		if err := c.dst.WriteAtv([][]byte{b[:k]}, off); err != nil {
			return err
		}
		b, off = b[k:], off+int64(k)
	}
	return nil
}

// prefix is the length of the blocks at the beginning of b that are zero, or of those
// that are not.
func (c *copier) prefix(b []byte, zero bool) (n int) {
	for n < len(b) {
		block := b[n:min(n+blockSize, len(b))]
		if bytes.Equal(block, c.zero[:len(block)]) != zero {
			break
		}
		n += len(block)
	}
	return n
}

func (c *copier) failed(what string, err error) error {
	return fmt.Errorf("disk %s: %s: %w", c.dst.path, what, err)
}
