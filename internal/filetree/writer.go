package filetree

import (
	"io"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

// WriteOptions say how a tree is written.
type WriteOptions struct {
	// Chown gives each file the user and group of its entry, which takes root, and keeps
	// set-user-ID and set-group-ID bits. Without it files belong to whoever writes them,
	// and the bits are dropped.
	Chown bool
	// Devices makes device nodes; without it they are errors.
	Devices bool
}

// Writer writes a tree to the file system. Entries may come from somebody hostile: none,
// in whatever order, changes or follows anything outside of the top. Symbolic links are
// made as they are, and to put something below one is an error.
//
// What exists gives way: a file, link or FIFO is removed first, so that nothing is
// written through it. A directory that exists keeps its mode, owner and time, and takes
// what the tree has in it. Putting a directory in the place of something else, or
// something else in the place of a directory, is an error. A directory that has no entry
// of its own is made with the mode 0755.
//
// Modes and times are those of the entries, whatever the umask.
type Writer struct {
	o      WriteOptions
	path   string
	parent int    // the directory that the top is in
	base   string // the top's name there
	top    int    // the top, once it is a directory; or -1
	dir    string // the path of the directory that cached is
	cached int    // or -1
	made   made
	size   int // what made takes, in bytes
	buf    []byte
}

// Create returns a writer of a tree whose top is at path, and makes nothing yet: the
// entry "." does that, if the top does not exist. A top that is a symbolic link to a
// directory is that directory. The directory that path is in must exist.
func Create(path string, o WriteOptions) (*Writer, error) {
	dir, base := parentOf(path)
	w := &Writer{o: o, path: path, base: base, parent: -1, top: -1, cached: -1, made: made{}}
	var err error
	if w.parent, err = openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return nil, failed("write to", path, "", err)
	}
	// Only now is a link followed: the tree may replace it.
	w.top, err = openat(w.parent, base, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil && !vanished(err) {
		closeFD(&w.parent)
		return nil, failed("write to", path, "", err)
	}
	return w, nil
}

// Put implements Sink. A file that cannot be written whole is removed again.
func (w *Writer) Put(e agentproto.Entry, data io.Reader) error {
	if err := e.Validate(); err != nil {
		return err
	}
	path := string(e.Path)
	dir, name, err := w.locate(path)
	if err != nil {
		return failed("write", w.path, path, err)
	}
	switch kind := e.Mode & unix.S_IFMT; {
	case kind == unix.S_IFDIR:
		err = w.putDir(dir, name, e)
	case path == "." && w.top >= 0:
		err = unix.EISDIR
	case e.HardLink:
		err = w.putLink(dir, name, string(e.Target))
	case kind == unix.S_IFREG:
		return w.putFile(dir, name, e, data)
	default:
		err = w.putNode(dir, name, e)
	}
	if err != nil {
		return failed("write", w.path, path, err)
	}
	return nil
}

// Close gives the directories that were made their modes and times. After an error it
// does what it still can, and returns the first error of its own. It may be called again.
func (w *Writer) Close() error {
	err := w.finish(func(string) bool { return false })
	closeFD(&w.cached)
	closeFD(&w.top)
	closeFD(&w.parent)
	return err
}

// parentOf returns the path of the directory that path is in, and the name there. A path
// that ends in no name, such as "/" and "..", is called "." in itself.
func parentOf(path string) (dir, base string) {
	trimmed := strings.TrimRight(path, "/")
	i := strings.LastIndexByte(trimmed, '/') + 1
	switch base = trimmed[i:]; {
	case base == "" || base == "." || base == "..":
		return path, "."
	case i == 0:
		return ".", base
	}
	return trimmed[:i], base
}

// locate returns a descriptor of the directory that path is in, and the name there.
func (w *Writer) locate(path string) (int, string, error) {
	if path == "." {
		return w.parent, w.base, nil
	}
	dir, name := split(path)
	if w.top < 0 {
		return -1, "", errNoTop
	}
	if w.cached < 0 || w.dir != dir {
		fd, err := w.openParent(dir)
		if err != nil {
			return -1, "", err
		}
		w.enter(dir, fd)
	}
	return w.cached, name, nil
}

// enter keeps the descriptor of the directory in which most likely the next entry is.
func (w *Writer) enter(path string, fd int) {
	closeFD(&w.cached)
	w.dir, w.cached = path, fd
}

// openParent opens a directory of the tree, and makes it and what is above it if there
// is nothing.
func (w *Writer) openParent(path string) (int, error) {
	fd, err := openDir(w.top, path, unix.O_PATH)
	if err != unix.ENOENT || path == "" {
		return fd, err
	}
	dir, name := split(path)
	above, err := w.openParent(dir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(above)
	if err = unix.Mkdirat(above, name, 0o700); err == nil {
		err = w.remember(path, attributes{mode: unix.S_IFDIR | 0o755})
	}
	if err != nil && err != unix.EEXIST {
		return -1, err
	}
	return openat(above, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}
