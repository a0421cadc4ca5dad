package fsserver

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ioFlags keeps those open flags of the guest that mean the same on the host.
// O_APPEND is not among them: it goes with each write, because the guest can
// change it, and its write-back of mapped pages must not append.
func ioFlags(flags uint32) int {
	return int(flags) & (unix.O_ACCMODE | unix.O_TRUNC | unix.O_SYNC | unix.O_DSYNC)
}

// checkRegular guards what opens a file: opening a FIFO or a device would wait
// or act on the host.
func checkRegular(node *inode) error {
	switch node.kind {
	case syscall.S_IFREG:
		return nil
	case syscall.S_IFDIR:
		return unix.EISDIR
	case syscall.S_IFLNK:
		return unix.ELOOP
	}
	return unix.EINVAL
}

// checkProcess guards the memory and the environment of the host's processes,
// this one among them: whoever shares a directory with a /proc somewhere below it
// means files. Sharing /proc itself is another thing.
func (fs *fileSystem) checkProcess(node *inode) error {
	if node.key.mount == fs.inodes.root.key.mount {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(node.fd, &st); err != nil {
		return err
	}
	if st.Type == unix.PROC_SUPER_MAGIC {
		return unix.EACCES
	}
	return nil
}

// Open implements fuse.RawFileSystem.
func (fs *fileSystem) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return status(fs.openNode(in.NodeId, in.Flags, in.Mode, out))
}

// openNode opens a regular file. openFlags are FUSE's OPEN_ flags.
func (fs *fileSystem) openNode(id uint64, flags, openFlags uint32, out *fuse.OpenOut) error {
	node, err := fs.inodes.get(id)
	if err != nil {
		return err
	}
	defer fs.inodes.put(node)
	if err := checkRegular(node); err != nil {
		return err
	}
	if err := fs.checkProcess(node); err != nil {
		return err
	}
	if fs.readOnly && flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY {
		return unix.EROFS
	}
	if flags&unix.O_TRUNC != 0 && openFlags&fuse.OPEN_KILL_SUIDGID != 0 {
		if err := fs.clearSetID(node.fd); err != nil {
			return err
		}
	}
	fd, err := fs.openForIO(node.fd, ioFlags(flags))
	if err != nil {
		return err
	}
	*out = fuse.OpenOut{Fh: fs.handles.add(node.id, fd, false), OpenFlags: fuse.FOPEN_NOFLUSH}
	if st, err := statFD(fd); err == nil && node.cache.unchanged(st) {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	return nil
}

// openForIO opens a file for reading or writing such that neither can block for
// ever: some files of the kernel's own wait for news, and a request that waits
// holds up the end of the VM.
func (fs *fileSystem) openForIO(fd, flags int) (int, error) {
	f, err := fs.reopenQuietly(fd, flags|unix.O_NONBLOCK)
	if err == unix.EAGAIN { // another process of the host has a lease, for a minute at most
		return fs.reopenQuietly(fd, flags)
	}
	return f, err
}

// reopenQuietly leaves access times alone on a read-only share where it may.
func (fs *fileSystem) reopenQuietly(fd, flags int) (int, error) {
	if fs.readOnly {
		if f, err := fs.reopen(fd, flags|unix.O_NOATIME); err != unix.EPERM {
			return f, err
		}
	}
	return fs.reopen(fd, flags)
}
