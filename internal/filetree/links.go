package filetree

import "golang.org/x/sys/unix"

// maxLinks bounds the files whose further names are still awaited.
const maxLinks = 64 << 10

type inode struct{ dev, ino uint64 }

// links knows the files with several names of which one was read: the path of that, and
// how many names are left.
type links map[inode]*link

type link struct {
	path string
	left int
}

// seen returns the path under which a file was read before.
func (l links) seen(st *unix.Stat_t) (string, bool) {
	if st.Nlink < 2 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return "", false
	}
	key := inode{st.Dev, st.Ino}
	known := l[key]
	if known == nil {
		return "", false
	}
	if known.left--; known.left <= 0 {
		delete(l, key)
	}
	return known.path, true
}

// add remembers a file that was read.
func (l links) add(st *unix.Stat_t, path string) {
	if st.Nlink < 2 || st.Mode&unix.S_IFMT == unix.S_IFDIR || path == "" || len(l) >= maxLinks {
		return
	}
	l[inode{st.Dev, st.Ino}] = &link{path: path, left: int(st.Nlink) - 1}
}
