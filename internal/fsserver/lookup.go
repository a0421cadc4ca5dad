package fsserver

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Lookup implements fuse.RawFileSystem.
func (fs *fileSystem) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if err := checkName(name); err != nil {
		return status(err)
	}
	dir, err := fs.inodes.getDir(header.NodeId)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	return status(fs.lookup(dir, name, out))
}

// lookup finds a checked name and counts the lookup.
func (fs *fileSystem) lookup(dir *inode, name string, out *fuse.EntryOut) error {
	fd, err := fs.child(dir, name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	st, err := statFD(fd)
	if err != nil {
		fs.budget.close(fd)
		return err
	}
	fs.enter(fd, st, out)
	return nil
}

// enter takes over an O_PATH descriptor, counts a lookup of its file and fills
// in the reply.
func (fs *fileSystem) enter(fd int, st *unix.Statx_t, out *fuse.EntryOut) {
	fs.fillEntry(fs.inodes.add(fd, st), st, out)
}

func (fs *fileSystem) fillEntry(id uint64, st *unix.Statx_t, out *fuse.EntryOut) {
	*out = fuse.EntryOut{NodeId: id}
	out.SetEntryTimeout(validFor)
	out.SetAttrTimeout(validFor)
	fs.fillAttr(st, &out.Attr)
}

// Forget implements fuse.RawFileSystem.
func (fs *fileSystem) Forget(nodeid, nlookup uint64) {
	fs.inodes.forget(nodeid, nlookup)
}

// Readlink implements fuse.RawFileSystem.
func (fs *fileSystem) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	node, err := fs.inodes.get(header.NodeId)
	if err != nil {
		return nil, status(err)
	}
	defer fs.inodes.put(node)
	if node.kind != syscall.S_IFLNK {
		return nil, fuse.EINVAL
	}
	buf := make([]byte, maxTarget+1)
	n, err := unix.Readlinkat(node.fd, "", buf)
	if err != nil {
		return nil, status(err)
	}
	return buf[:n], fuse.OK
}
