package agent

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// changeFile does what needs no more than the request.
func changeFile(q agentproto.FileRequest) error {
	switch q.Op {
	case agentproto.FileMkdir:
		return makeDirectory(q)
	case agentproto.FileRemove:
		return removeFile(q)
	}
	err := retry(func() error { return changeName(q) })
	switch {
	case err == nil:
		return nil
	case q.Op == agentproto.FileRename:
		return &os.LinkError{Op: string(q.Op), Old: string(q.Path), New: string(q.To), Err: err}
	}
	return &os.PathError{Op: string(q.Op), Path: string(q.Path), Err: err}
}

// changeName does what is one system call.
func changeName(q agentproto.FileRequest) error {
	p := string(q.Path)
	flags := unix.AT_SYMLINK_NOFOLLOW
	if q.Follow {
		flags = 0
	}
	switch q.Op {
	case agentproto.FileRename:
		return unix.Renameat(unix.AT_FDCWD, p, unix.AT_FDCWD, string(q.To))
	case agentproto.FileSymlink:
		return unix.Symlinkat(string(q.To), unix.AT_FDCWD, p)
	case agentproto.FileChmod:
		return unix.Fchmodat(unix.AT_FDCWD, p, q.Mode, 0)
	case agentproto.FileChown:
		return unix.Fchownat(unix.AT_FDCWD, p, idOrNone(q.UID), idOrNone(q.GID), flags)
	case agentproto.FileChtimes:
		times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(q.MTimeNS)}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, times, flags)
	}
	return unix.ENOSYS
}

// idOrNone is what chown(2) takes: -1 leaves what there is.
func idOrNone(id *uint32) int {
	if id == nil {
		return -1
	}
	return int(*id)
}

func makeDirectory(q agentproto.FileRequest) error {
	if err := makeParents(q); err != nil {
		return err
	}
	p := string(q.Path)
	err := retry(func() error { return unix.Mkdir(p, q.Mode) })
	if q.Parents && errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return nil
		}
	}
	if err == nil {
		err = unix.Fchmodat(unix.AT_FDCWD, p, q.Mode, 0) // the umask took from it
	}
	if err != nil {
		return &os.PathError{Op: "mkdir", Path: p, Err: err}
	}
	return nil
}

func removeFile(q agentproto.FileRequest) error {
	p := string(q.Path)
	switch {
	case !q.Recursive:
		return os.Remove(p)
	case p == "/":
		return refuse(agentproto.KindInvalid, "remove /: the guest's root is not removed")
	}
	// RemoveAll takes what is not there for removed.
	if _, err := os.Lstat(p); err != nil {
		return err
	}
	return os.RemoveAll(p)
}
