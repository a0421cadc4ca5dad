package filetree

import (
	"errors"
	"io"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

// ReadOptions say how a tree is read.
type ReadOptions struct {
	// Follow reads what the top stands for if it is a symbolic link. Links in the tree
	// are never followed.
	Follow bool
}

// Reader reads a tree of the file system: depth first, each directory's names in the
// order of their bytes. (A directory of more than 16,384 names comes in parts, each in
// that order.) It follows no symbolic link in the tree, not even one that takes the
// place of a directory meanwhile.
//
// Further names of a file are hard links, unless more than 65,536 files are between
// their names: then their data come again. Sockets are left out, and so is what vanishes
// while the tree is read. Holes of sparse files are read as zeros, and file systems that
// are mounted in the tree are part of it.
type Reader struct {
	path  string
	first *node // the top, until it was returned
	data  *file // of the last entry
	dirs  []listing
	links links
	buf   []byte
}

// node is one entry and what is open for it.
type node struct {
	entry agentproto.Entry
	data  *file
}

// errSkip is the error of a node that does not belong into the tree.
var errSkip = errors.New("skipped")

// Open returns a reader of the tree whose top is at path. A top that is a socket is an
// error.
func Open(path string, o ReadOptions) (*Reader, error) {
	r := &Reader{path: path, links: links{}}
	n, err := r.open(unix.AT_FDCWD, path, "", o.Follow)
	if err != nil {
		if errors.Is(err, errSkip) {
			err = errors.New("it is a socket, which cannot be copied")
		}
		return nil, failed("read", path, "", err)
	}
	r.first = &n
	return r, nil
}

// Next implements Source. An error names the file that cannot be read.
func (r *Reader) Next() (agentproto.Entry, io.Reader, error) {
	if r.data != nil {
		closeFD(&r.data.fd)
		r.data = nil
	}
	n, err := r.next()
	if err != nil {
		return agentproto.Entry{}, nil, err
	}
	if n.data == nil {
		return n.entry, nil, nil
	}
	r.data = n.data
	return n.entry, n.data, nil
}

func (r *Reader) next() (node, error) {
	if r.first != nil {
		n := *r.first
		r.first = nil
		return n, nil
	}
	for len(r.dirs) > 0 {
		dir := &r.dirs[len(r.dirs)-1]
		name, ok, err := dir.next(&r.buf)
		if err == nil && ok {
			err = dir.reopen(r.dirs[0].fd)
		}
		switch {
		case !ok && err == nil || vanished(err):
			closeFD(&dir.fd)
			r.dirs = r.dirs[:len(r.dirs)-1]
			continue
		case err != nil:
			return node{}, failed("read", r.path, dir.path, err)
		}
		path := join(dir.path, name)
		n, err := r.open(dir.fd, name, path, false)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, errSkip) && !vanished(err) {
			return node{}, failed("read", r.path, path, err)
		}
	}
	return node{}, io.EOF
}

// Close closes what the reader has open. It may be called before the tree's end.
func (r *Reader) Close() error {
	if r.first != nil && r.first.data != nil {
		closeFD(&r.first.data.fd)
	}
	if r.data != nil {
		closeFD(&r.data.fd)
	}
	for i := range r.dirs {
		closeFD(&r.dirs[i].fd)
	}
	r.first, r.data, r.dirs = nil, nil, nil
	return nil
}

// open returns the node that is called name in the directory dir, and begins to list it
// if it is a directory. Its path in the tree is "" for the top.
func (r *Reader) open(dir int, name, path string, follow bool) (node, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var st unix.Stat_t
	if _, err := ignoringEINTR(func() (int, error) { return 0, unix.Fstatat(dir, name, &st, flags) }); err != nil {
		return node{}, err
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFSOCK {
		return node{}, errSkip
	}
	if len(path) > unix.PathMax-1 {
		return node{}, unix.ENAMETOOLONG
	}
	if target, ok := r.links.seen(&st); ok {
		e := entryOf(path, &st)
		e.Target, e.HardLink, e.Size = agentproto.Name(target), true, 0
		return node{entry: e}, nil
	}
	var n node
	var target string
	var err error
	switch kind {
	case unix.S_IFDIR, unix.S_IFREG:
		var fd int
		if fd, err = openNode(dir, name, &st, follow); err == nil && kind == unix.S_IFDIR {
			r.enter(listing{path: path, fd: fd})
		} else if err == nil {
			n.data = &file{fd: fd, top: r.path, path: path}
		}
	case unix.S_IFLNK:
		target, err = readlink(dir, name)
	}
	if err != nil {
		return node{}, err
	}
	r.links.add(&st, path)
	n.entry = entryOf(path, &st)
	n.entry.Target = agentproto.Name(target)
	return n, nil
}

// openNode opens a file or directory for reading, and brings st up to date. Something
// else may have taken its place since it was looked at: a FIFO is opened without
// waiting, and then skipped like a device.
func openNode(dir int, name string, st *unix.Stat_t, follow bool) (int, error) {
	kind := st.Mode & unix.S_IFMT
	flags := unix.O_RDONLY | unix.O_NONBLOCK
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	if kind == unix.S_IFDIR {
		flags |= unix.O_DIRECTORY
	}
	fd, err := openat(dir, name, flags, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Fstat(fd, st); err == nil && st.Mode&unix.S_IFMT != kind {
		err = errSkip
	}
	if err != nil {
		closeFD(&fd)
	}
	return fd, err
}

func readlink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := ignoringEINTR(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
	if err == unix.EINVAL {
		err = errSkip // it is no link any more
	}
	return string(buf[:max(n, 0)]), err
}

func entryOf(path string, st *unix.Stat_t) agentproto.Entry {
	e := agentproto.Entry{
		Path:    agentproto.Name(orDot(path)),
		Mode:    st.Mode,
		UID:     st.Uid,
		GID:     st.Gid,
		MTimeNS: MTimeNS(st.Mtim.Sec, st.Mtim.Nsec),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Rdev = st.Rdev
	}
	return e
}

// vanished reports whether an error says that somebody else removed a file, or put
// another in its place.
func vanished(err error) bool {
	return err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP
}
