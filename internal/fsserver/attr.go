package fsserver

import (
	"math/bits"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// validFor is how long the guest may use names and attributes without asking:
// a change on the host is seen after that at the latest.
const validFor = time.Second

// fillAttr translates a file's attributes.
func (fs *fileSystem) fillAttr(st *unix.Statx_t, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino:       fs.inodeNumber(st.Ino, st.Dev_major, st.Dev_minor),
		Size:      st.Size,
		Blocks:    st.Blocks,
		Atime:     uint64(st.Atime.Sec),
		Mtime:     uint64(st.Mtime.Sec),
		Ctime:     uint64(st.Ctime.Sec),
		Atimensec: st.Atime.Nsec,
		Mtimensec: st.Mtime.Nsec,
		Ctimensec: st.Ctime.Nsec,
		Mode:      uint32(st.Mode),
		Nlink:     st.Nlink,
		Owner:     fs.ids.toGuest(st.Uid, st.Gid),
		Rdev:      uint32(unix.Mkdev(st.Rdev_major, st.Rdev_minor)),
		Blksize:   st.Blksize,
	}
}

// inodeNumber keeps files of different host devices apart in the guest, which
// sees them all on one device: equal numbers would look like hard links.
func (fs *fileSystem) inodeNumber(ino uint64, major, minor uint32) uint64 {
	root := &fs.inodes.root.key
	device := uint64(major^root.major)<<32 | uint64(minor^root.minor)
	return ino ^ bits.RotateLeft64(device, 40)
}

// GetAttr implements fuse.RawFileSystem.
func (fs *fileSystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	node, err := fs.inodes.get(in.NodeId)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(node)
	return status(fs.attrOf(node, out))
}

func (fs *fileSystem) attrOf(node *inode, out *fuse.AttrOut) error {
	st, err := statFD(node.fd)
	if err != nil {
		return err
	}
	fs.fillAttr(st, &out.Attr)
	out.SetTimeout(validFor)
	return nil
}

// SetAttr implements fuse.RawFileSystem.
func (fs *fileSystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	if fs.readOnly {
		return fuse.EROFS
	}
	node, err := fs.inodes.get(in.NodeId)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(node)

	// The mode comes after the owner, whose change clears set-id bits, and the
	// times come after what changes them.
	for _, set := range []func(*inode, *fuse.SetAttrIn) error{fs.setOwner, fs.setSize, fs.setMode, fs.setTimes} {
		if err := set(node, in); err != nil {
			return status(err)
		}
	}
	return status(fs.attrOf(node, out))
}

func (fs *fileSystem) setOwner(node *inode, in *fuse.SetAttrIn) error {
	uid, gid := keepID, keepID
	if id, ok := in.GetUID(); ok {
		uid = int(id)
	}
	if id, ok := in.GetGID(); ok {
		gid = int(id)
	}
	if uid == keepID && gid == keepID {
		return nil
	}
	uid, gid, err := fs.ids.toHost(uid, gid)
	if err != nil {
		return err
	}
	return unix.Fchownat(node.fd, "", uid, gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

func (fs *fileSystem) setSize(node *inode, in *fuse.SetAttrIn) error {
	size, ok := in.GetSize()
	if !ok {
		return nil
	}
	if err := checkRegular(node); err != nil {
		return err
	}
	if int64(size) < 0 {
		return unix.EINVAL
	}
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if err := fs.clearSetID(node.fd); err != nil {
			return err
		}
	}
	if fh, ok := in.GetFh(); ok {
		h, err := fs.handles.get(fh, in.NodeId, false)
		if err != nil {
			return err
		}
		defer fs.handles.put(h)
		return uninterrupted(func() error { return unix.Ftruncate(h.fd, int64(size)) })
	}
	fd, err := fs.openForIO(node.fd, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer fs.budget.close(fd)
	return uninterrupted(func() error { return unix.Ftruncate(fd, int64(size)) })
}

func (fs *fileSystem) setMode(node *inode, in *fuse.SetAttrIn) error {
	mode, ok := in.GetMode()
	if !ok {
		return nil
	}
	return fs.chmod(node.fd, mode)
}

// chmod works on O_PATH descriptors too, for which fchmod(2) does not.
func (fs *fileSystem) chmod(fd int, mode uint32) error {
	return unix.Fchmodat(fs.procFD, strconv.Itoa(fd), mode, 0)
}

// clearSetID does what the host's kernel would do when somebody without
// CAP_FSETID writes to a file: the guest says when its writer is such a one.
func (fs *fileSystem) clearSetID(fd int) error {
	st, err := statFD(fd)
	if err != nil {
		return err
	}
	mode := uint32(st.Mode)
	drop := mode & syscall.S_ISUID
	if mode&syscall.S_IXGRP != 0 {
		drop |= mode & syscall.S_ISGID
	}
	if drop == 0 || mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil
	}
	return fs.chmod(fd, mode&07777&^drop)
}

func (fs *fileSystem) setTimes(node *inode, in *fuse.SetAttrIn) error {
	if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) == 0 {
		return nil
	}
	times := []unix.Timespec{
		timeToSet(in.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec),
		timeToSet(in.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec),
	}
	return unix.UtimesNanoAt(fs.procFD, strconv.Itoa(node.fd), times, 0)
}

func timeToSet(valid, set, setNow uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case valid&set == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case valid&setNow != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	case nsec >= 1e9: // would be taken for one of the two above, or be invalid
		return unix.Timespec{Sec: int64(sec)}
	}
	return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
}

// StatFs implements fuse.RawFileSystem.
func (fs *fileSystem) StatFs(_ <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	node, err := fs.inodes.get(header.NodeId)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(node)
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(node.fd, &st); err != nil {
		return status(err)
	}
	out.FromStatfsT(&st)
	return fuse.OK
}
