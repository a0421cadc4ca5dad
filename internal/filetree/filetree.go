// Package filetree reads and writes trees of files as a sequence of entries: a Source
// yields them, a Sink takes them, and Copy moves a tree from one to the other. Reader
// and Writer are the two on a file system. A tree's top may also be a single file.
package filetree

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

// Source yields a tree, directories before what is in them.
type Source interface {
	// Next returns the next entry and, for regular files that are no hard links, its
	// data, which are valid until the next call and need not be read. After the last
	// entry it returns io.EOF; any other error ends the tree too.
	Next() (agentproto.Entry, io.Reader, error)
}

// Sink takes a tree, entry by entry.
type Sink interface {
	// Put adds an entry. It validates it, and reads data to their end. After an error
	// the tree is incomplete, and the only call left is Close.
	Put(e agentproto.Entry, data io.Reader) error
	// Close ends the tree, once, after the last Put.
	Close() error
}

// Copy puts all of src into dst and closes dst. After an error it leaves dst open: a
// sink whose Close tells somebody else that the tree is whole must not be closed then.
func Copy(dst Sink, src Source) error {
	for {
		e, data, err := src.Next()
		if errors.Is(err, io.EOF) {
			return dst.Close()
		}
		if err == nil {
			err = dst.Put(e, data)
		}
		if err != nil {
			return err
		}
	}
}

// MTimeNS returns a time in nanoseconds since 1970, or the nearest that has so many: the
// years 1677 to 2262.
func MTimeNS(seconds, nanoseconds int64) int64 {
	const most = math.MaxInt64/1_000_000_000 - 1
	switch {
	case seconds > most:
		return math.MaxInt64
	case seconds < -most:
		return math.MinInt64
	}
	return seconds*1e9 + nanoseconds
}

// openDir opens the directory at path below the directory top; "" is top itself. No
// symbolic link is followed: one on the way is ENOTDIR, like any other file.
func openDir(top int, path string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_DIRECTORY | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := ignoringEINTR(func() (int, error) { return unix.Openat2(top, orDot(path), &how) })
	if err == unix.ELOOP {
		err = unix.ENOTDIR
	}
	return fd, err
}

// openat opens name in dir.
func openat(dir int, name string, flags int, mode uint32) (int, error) {
	return ignoringEINTR(func() (int, error) {
		return unix.Openat(dir, name, flags|unix.O_NOCTTY|unix.O_CLOEXEC, mode)
	})
}

func ignoringEINTR(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

// closeFD closes what *fd refers to, if anything.
func closeFD(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}

func orDot(path string) string {
	if path == "" {
		return "."
	}
	return path
}

// split returns the path of the directory that path is in, "" for the top, and the name
// there.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// join is the reverse of split.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// failed returns err with what was done, and the whole path of what it was done to.
func failed(doing, top, path string, err error) error {
	if path != "" && path != "." {
		top = strings.TrimRight(top, "/") + "/" + path
	}
	return fmt.Errorf("%s %.500q: %w", doing, top, err)
}

// file is an open regular file. It costs less than an *os.File, which asks the poller
// first; that counts in a tree of many small files.
type file struct {
	fd        int
	top, path string
}

// Read implements io.Reader.
func (f *file) Read(p []byte) (int, error) {
	n, err := ignoringEINTR(func() (int, error) { return unix.Read(f.fd, p) })
	switch {
	case err != nil:
		return 0, failed("read", f.top, f.path, err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements io.Writer.
func (f *file) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := ignoringEINTR(func() (int, error) { return unix.Write(f.fd, p[written:]) })
		if err != nil {
			return written, failed("write", f.top, f.path, err)
		}
		written += n
	}
	return written, nil
}
