package filetree

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

const (
	// setIDBits would make programs of somebody else's run as whoever writes the tree.
	setIDBits = unix.S_ISUID | unix.S_ISGID
	// maxMade bounds the memory for directories that are to be finished, in bytes, and
	// madeCost is what one takes beside its path.
	maxMade  = 8 << 20
	madeCost = 128
)

// attributes is what a file is given last.
type attributes struct {
	mode     uint32 // the type too
	own      bool   // uid and gid are set
	uid, gid uint32
	timed    bool // mtime is set
	mtime    int64
}

func (w *Writer) attributes(e agentproto.Entry) attributes {
	a := attributes{mode: e.Mode, own: w.o.Chown, uid: e.UID, gid: e.GID, timed: true, mtime: e.MTimeNS}
	if !a.own {
		a.mode &^= setIDBits
	}
	return a
}

// apply changes the file that fd refers to. The owner comes first, since changing it
// clears the set-id bits.
func (a attributes) apply(fd int) error {
	if a.own {
		if err := unix.Fchownat(fd, "", int(a.uid), int(a.gid), unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("change its owner to %d:%d: %w", a.uid, a.gid, err)
		}
	}
	if a.mode&unix.S_IFMT != unix.S_IFLNK {
		err := unix.Fchmod(fd, a.mode&0o7777)
		if err == unix.EBADF { // a descriptor of O_PATH
			err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), a.mode&0o7777)
		}
		if err != nil {
			return fmt.Errorf("change its mode to %#o: %w", a.mode&0o7777, err)
		}
	}
	if a.timed {
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(a.mtime)}
		if err := unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("change its time: %w", err)
		}
	}
	return nil
}

// applyTo changes a file that is not to be opened, if it still is what was made, which
// has no other name that would be outside of the tree.
func (a attributes) applyTo(dir int, name string, kind uint32) error {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != kind || st.Nlink != 1 {
		return errChanged
	}
	return a.apply(fd)
}

// made holds the directories that were made, by path: what is put in one changes its
// time, and may not be possible any more with its mode.
type made map[string]attributes

// remember keeps a directory's attributes until it is finished. When there are too many,
// all but those on the way to it are finished early: in trees that come depth first
// nothing is put in those again.
func (w *Writer) remember(path string, a attributes) error {
	w.made[path] = a
	if w.size += len(path) + madeCost; w.size <= maxMade {
		return nil
	}
	return w.finish(func(p string) bool {
		return p == "" || p == path || strings.HasPrefix(path, p+"/")
	})
}

// finish gives directories their attributes, except those to keep, the deepest first. It
// returns the first error, after all were tried.
func (w *Writer) finish(keep func(path string) bool) error {
	var first error
	w.size = 0
	for _, path := range slices.Backward(slices.Sorted(maps.Keys(w.made))) {
		if keep(path) {
			w.size += len(path) + madeCost
			continue
		}
		fd, err := openDir(w.top, path, unix.O_RDONLY)
		if err == nil {
			err = w.made[path].apply(fd)
			_ = unix.Close(fd)
		}
		if err != nil && first == nil {
			first = failed("finish", w.path, path, err)
		}
		delete(w.made, path)
	}
	return first
}
