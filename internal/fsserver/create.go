package fsserver

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// setIDBits are given to a new file only once it has its owner: chown(2) clears
// them, and until then they would stand for the server's user.
const setIDBits = syscall.S_ISUID | syscall.S_ISGID

// dirToChange checks what requests that make or remove a name share, and
// returns the directory for use until put.
func (fs *fileSystem) dirToChange(dir uint64, name string) (*inode, error) {
	if fs.readOnly {
		return nil, unix.EROFS
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	return fs.inodes.getDir(dir)
}

// Mkdir implements fuse.RawFileSystem.
func (fs *fileSystem) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, err := fs.dirToChange(in.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	if err := unix.Mkdirat(dir.fd, name, in.Mode&07777&^setIDBits); err != nil {
		return status(err)
	}
	err = fs.adoptName(dir, name, in.Caller.Owner, in.Mode, out)
	if err != nil {
		_ = unix.Unlinkat(dir.fd, name, unix.AT_REMOVEDIR)
	}
	return status(err)
}

// Mknod implements fuse.RawFileSystem.
func (fs *fileSystem) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, err := fs.dirToChange(in.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	if err := unix.Mknodat(dir.fd, name, in.Mode&^setIDBits, int(in.Rdev)); err != nil {
		return status(err)
	}
	err = fs.adoptName(dir, name, in.Caller.Owner, in.Mode, out)
	if err != nil {
		_ = unix.Unlinkat(dir.fd, name, 0)
	}
	return status(err)
}

// Symlink implements fuse.RawFileSystem.
func (fs *fileSystem) Symlink(_ <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	if len(target) > maxTarget {
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	dir, err := fs.dirToChange(header.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	if err := unix.Symlinkat(target, dir.fd, name); err != nil {
		return status(err)
	}
	err = fs.adoptName(dir, name, header.Caller.Owner, 0, out)
	if err != nil {
		_ = unix.Unlinkat(dir.fd, name, 0)
	}
	return status(err)
}

// Create implements fuse.RawFileSystem.
func (fs *fileSystem) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	dir, err := fs.dirToChange(in.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	fd, err := fs.child(dir, name, ioFlags(in.Flags)|unix.O_CREAT|unix.O_EXCL, in.Mode&0777)
	if err == unix.EEXIST && in.Flags&unix.O_EXCL == 0 {
		return status(fs.openExisting(dir, name, in, out))
	}
	if err != nil {
		return status(err)
	}
	err = fs.adoptOpen(fd, dir, in, out)
	if err != nil {
		fs.budget.close(fd)
		_ = unix.Unlinkat(dir.fd, name, 0)
	}
	return status(err)
}

// openExisting is for a file that appeared on the host after the guest looked.
func (fs *fileSystem) openExisting(dir *inode, name string, in *fuse.CreateIn, out *fuse.CreateOut) error {
	if err := fs.lookup(dir, name, &out.EntryOut); err != nil {
		return err
	}
	err := fs.openNode(out.NodeId, in.Flags, in.OpenFlags, &out.OpenOut)
	if err != nil {
		fs.inodes.forget(out.NodeId, 1)
	}
	return err
}

// Tmpfile implements fuse.RawFileSystem.
func (fs *fileSystem) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	if fs.readOnly {
		return fuse.EROFS
	}
	dir, err := fs.inodes.getDir(in.NodeId)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	flags := ioFlags(in.Flags)&^unix.O_TRUNC | unix.O_TMPFILE | int(in.Flags&unix.O_EXCL)
	fd, err := fs.child(dir, ".", flags, in.Mode&0777)
	if err != nil {
		return status(err)
	}
	err = fs.adoptOpen(fd, dir, in, out)
	if err != nil {
		fs.budget.close(fd)
	}
	return status(err)
}

// adoptOpen makes a file just created, and open as fd, known to the guest. It
// takes fd over when it succeeds.
func (fs *fileSystem) adoptOpen(fd int, dir *inode, in *fuse.CreateIn, out *fuse.CreateOut) error {
	// Not fd itself: a file held open for writing cannot be executed on the host.
	path, err := fs.reopen(fd, unix.O_PATH)
	if err != nil {
		return err
	}
	if err := fs.adopt(path, dir, in.Caller.Owner, in.Mode, &out.EntryOut); err != nil {
		return err
	}
	out.OpenOut = fuse.OpenOut{Fh: fs.handles.add(out.NodeId, fd, false), OpenFlags: fuse.FOPEN_NOFLUSH}
	return nil
}

// adoptName makes a file just created under a name known to the guest.
func (fs *fileSystem) adoptName(dir *inode, name string, by fuse.Owner, mode uint32, out *fuse.EntryOut) error {
	fd, err := fs.child(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	return fs.adopt(fd, dir, by, mode, out)
}

// adopt gives a new file its owner and mode, counts its first lookup and takes
// over the O_PATH descriptor fd, whether it succeeds or not.
func (fs *fileSystem) adopt(fd int, dir *inode, by fuse.Owner, mode uint32, out *fuse.EntryOut) error {
	st, err := statFD(fd)
	if err == nil {
		var changed, moded bool
		if changed, err = fs.giveTo(fd, dir, by); err == nil {
			moded, err = fs.completeMode(fd, dir, st, mode)
		}
		if err == nil && (changed || moded) {
			st, err = statFD(fd)
		}
	}
	if err != nil {
		fs.budget.close(fd)
		return err
	}
	fs.enter(fd, st, out)
	return nil
}

// giveTo makes a new file belong to who made it. In a set-group-id directory
// the host has given it the directory's group, which it keeps.
func (fs *fileSystem) giveTo(fd int, dir *inode, by fuse.Owner) (changed bool, err error) {
	uid, gid := fs.ids.created(by)
	if gid != keepID {
		st, err := statFD(dir.fd)
		if err != nil {
			return false, err
		}
		if st.Mode&syscall.S_ISGID != 0 {
			gid = keepID
		}
	}
	if uid == keepID && gid == keepID {
		return false, nil
	}
	return true, unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

// completeMode sets the bits of a new file's mode that it lacks: those that are
// set only now, and those that the server's umask took, unless the directory has
// a default ACL, which has the last word on them.
func (fs *fileSystem) completeMode(fd int, dir *inode, st *unix.Statx_t, mode uint32) (changed bool, err error) {
	have := uint32(st.Mode)
	if have&syscall.S_IFMT == syscall.S_IFLNK {
		return false, nil
	}
	lacks := mode & 07777 &^ have
	if lacks&0777 != 0 && hasDefaultACL(dir.fd) {
		lacks &^= 0777
	}
	if lacks == 0 {
		return false, nil
	}
	return true, fs.chmod(fd, have&07777|lacks)
}
