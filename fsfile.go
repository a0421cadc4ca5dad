package holt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"syscall"

	"github.com/holtvm/holt/internal/agentclient"
)

// guestFile is a file of the guest that was opened for reading. It implements fs.File,
// io.Seeker and io.ReaderAt.
type guestFile struct {
	fs         *FS
	name, path string // as it was given, and in the guest
	info       fs.FileInfo
	at         int64                   // what Read reads next
	r          *agentclient.FileReader // at at; nil after Seek, until the next Read
	closed     bool
}

// Stat returns what the file was when it was opened.
func (g *guestFile) Stat() (fs.FileInfo, error) { return g.info, g.check("stat") }

// Read implements io.Reader.
func (g *guestFile) Read(p []byte) (int, error) {
	if err := g.check("read"); err != nil {
		return 0, err
	}
	if g.r == nil {
		r, err := g.fs.read("read", g.name, g.path, g.at, -1)
		if err != nil {
			return 0, err
		}
		g.r = r
	}
	n, err := g.r.Read(p)
	g.at += int64(n)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	return n, g.fs.failed("read", g.name, g.path, err)
}

// ReadAt implements io.ReaderAt.
func (g *guestFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := g.check("read"); err != nil || len(p) == 0 {
		return 0, err
	}
	if offset < 0 {
		return 0, g.invalid("read", fmt.Errorf("offset %d: must not be negative", offset))
	}
	r, err := g.fs.read("read", g.name, g.path, offset, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err := io.ReadFull(r, p)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = io.EOF
	case err != nil && !errors.Is(err, io.EOF):
		err = g.fs.failed("read", g.name, g.path, err)
	}
	return n, err
}

// Seek implements io.Seeker. The end is where it was when the file was opened.
func (g *guestFile) Seek(offset int64, whence int) (int64, error) {
	if err := g.check("seek"); err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += g.at
	case io.SeekEnd:
		offset += g.info.Size()
	default:
		return 0, g.invalid("seek", fmt.Errorf("whence %d: must be 0, 1 or 2", whence))
	}
	if offset < 0 {
		return 0, g.invalid("seek", fmt.Errorf("offset %d: must not be negative", offset))
	}
	if offset != g.at && g.r != nil {
		_ = g.r.Close()
		g.r = nil
	}
	g.at = offset
	return offset, nil
}

// Close implements io.Closer.
func (g *guestFile) Close() error {
	if err := g.check("close"); err != nil {
		return err
	}
	g.closed = true
	if g.r != nil {
		_ = g.r.Close()
	}
	return nil
}

// check returns an error once the file is closed.
func (g *guestFile) check(op string) error {
	if g.closed {
		return &fs.PathError{Op: op, Path: g.name, Err: fs.ErrClosed}
	}
	return nil
}

// invalid is the error of a call that makes no sense.
func (g *guestFile) invalid(op string, err error) error {
	return &fs.PathError{Op: op, Path: g.name, Err: fmt.Errorf("%w: %w", fs.ErrInvalid, err)}
}

const (
	// maxListing bounds the memory that one list of a directory takes, in bytes.
	maxListing = 256 << 20
	// entryCost is what an entry takes beside its name and target, in bytes.
	entryCost = 256
)

// guestDir is a directory of the guest that was opened. It implements fs.ReadDirFile.
type guestDir struct {
	name   string
	info   fs.FileInfo
	next   func() (fs.DirEntry, error, bool)
	stop   func()
	most   int // bytes that a list may take
	closed bool
}

// dir opens the directory at p in the guest.
func (f *FS) dir(name, p string, info fs.FileInfo) *guestDir {
	d := &guestDir{name: name, info: info, most: maxListing}
	d.next, d.stop = iter.Pull2(f.entries(name, p))
	return d
}

// Stat implements fs.File.
func (d *guestDir) Stat() (fs.FileInfo, error) { return d.info, d.check("stat") }

// Read fails: a directory has no content.
func (d *guestDir) Read([]byte) (int, error) {
	if err := d.check("read"); err != nil {
		return 0, err
	}
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: syscall.EISDIR}
}

// ReadDir implements fs.ReadDirFile.
func (d *guestDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if err := d.check("readdir"); err != nil {
		return nil, err
	}
	list := []fs.DirEntry{}
	for size := 0; n <= 0 || len(list) < n; {
		entry, err, ok := d.next()
		switch {
		case !ok && n > 0 && len(list) == 0:
			return list, io.EOF
		case !ok:
			return list, nil
		case err != nil:
			return list, err
		}
		list = append(list, entry)
		if size += entryCost + entrySize(entry); size > d.most {
			return list, &fs.PathError{
				Op: "readdir", Path: d.name,
				Err: fmt.Errorf("its list takes more than %d MiB: read fewer entries at once", d.most>>20),
			}
		}
	}
	return list, nil
}

// entrySize is the length of an entry's texts, in bytes.
func entrySize(e fs.DirEntry) int {
	info, err := e.Info()
	if err != nil {
		return len(e.Name())
	}
	return len(e.Name()) + len(info.Sys().(*FileStat).Target)
}

// Close implements io.Closer.
func (d *guestDir) Close() error {
	if err := d.check("close"); err != nil {
		return err
	}
	d.closed = true
	d.stop()
	return nil
}

// check returns an error once the directory is closed.
func (d *guestDir) check(op string) error {
	if d.closed {
		return &fs.PathError{Op: op, Path: d.name, Err: fs.ErrClosed}
	}
	return nil
}
