package filetree

import (
	"slices"

	"golang.org/x/sys/unix"
)

// maxNames bounds the names of one directory that are held at a time.
const maxNames = 16 << 10

// listing is a directory that is being read. It keeps its descriptor while it is the
// innermost one, or has names that were not read yet.
type listing struct {
	path  string // in the tree; "" for the top
	fd    int
	names []string // in order, still to come
	read  bool     // there are no more than names
}

// enter makes l the innermost listing. The top keeps its descriptor: all else is opened
// below it.
func (r *Reader) enter(l listing) {
	if n := len(r.dirs); n > 1 && r.dirs[n-1].read {
		closeFD(&r.dirs[n-1].fd)
	}
	r.dirs = append(r.dirs, l)
}

// next returns the next name, or false after the last.
func (l *listing) next(buf *[]byte) (string, bool, error) {
	if len(l.names) == 0 && !l.read {
		if err := l.fill(buf); err != nil {
			return "", false, err
		}
	}
	if len(l.names) == 0 {
		return "", false, nil
	}
	name := l.names[0]
	l.names = l.names[1:]
	return name, true, nil
}

func (l *listing) fill(buf *[]byte) error {
	if *buf == nil {
		*buf = make([]byte, 32<<10)
	}
	var names []string
	for len(names) < maxNames {
		n, err := ignoringEINTR(func() (int, error) { return unix.ReadDirent(l.fd, *buf) })
		if err != nil {
			return err
		}
		if n <= 0 {
			l.read = true
			break
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
	slices.Sort(names)
	l.names = names
	return nil
}

// reopen opens the directory again after one in it has been read.
func (l *listing) reopen(top int) error {
	if l.fd >= 0 {
		return nil
	}
	fd, err := openDir(top, l.path, unix.O_PATH)
	l.fd = fd
	return err
}
