package fsserver

import (
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Unlink implements fuse.RawFileSystem.
func (fs *fileSystem) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return fs.remove(header.NodeId, name, 0)
}

// Rmdir implements fuse.RawFileSystem.
func (fs *fileSystem) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return fs.remove(header.NodeId, name, unix.AT_REMOVEDIR)
}

func (fs *fileSystem) remove(dir uint64, name string, flags int) fuse.Status {
	parent, err := fs.dirToChange(dir, name)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(parent)
	return status(unix.Unlinkat(parent.fd, name, flags))
}

// Rename implements fuse.RawFileSystem.
func (fs *fileSystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	const known = unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE | unix.RENAME_WHITEOUT
	if in.Flags&^known != 0 {
		return fuse.EINVAL
	}
	from, err := fs.dirToChange(in.NodeId, oldName)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(from)
	to, err := fs.dirToChange(in.Newdir, newName)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(to)
	return status(unix.Renameat2(from.fd, oldName, to.fd, newName, uint(in.Flags)))
}

// Link implements fuse.RawFileSystem.
func (fs *fileSystem) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, err := fs.dirToChange(in.NodeId, name)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	node, err := fs.inodes.get(in.Oldnodeid)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(node)

	// Following /proc/self/fd/N ends at the file that N holds, be it a symbolic
	// link; AT_EMPTY_PATH would do the same but wants CAP_DAC_READ_SEARCH.
	err = unix.Linkat(fs.procFD, strconv.Itoa(node.fd), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return status(err)
	}
	st, err := statFD(node.fd)
	if err == nil {
		err = fs.inodes.again(node)
	}
	if err != nil {
		return status(err)
	}
	fs.fillEntry(node.id, st, out)
	return fuse.OK
}
