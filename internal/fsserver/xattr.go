package fsserver

import (
	"strconv"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// xattrPath names a descriptor's file for the calls that take only paths.
// Following it ends at the very file that the descriptor holds, be it a symbolic
// link, whatever happened to its names since; so nothing can be swapped under it.
func xattrPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// checkXattr keeps the labels of the host's security modules out of the guest's
// reach. File capabilities are as set-user-id bits and allowed like those.
func checkXattr(name string) error {
	if strings.HasPrefix(name, "security.") && name != "security.capability" {
		return unix.EOPNOTSUPP
	}
	return nil
}

func hasDefaultACL(dir int) bool {
	n, err := unix.Getxattr(xattrPath(dir), "system.posix_acl_default", nil)
	return err == nil && n > 0
}

// GetXAttr implements fuse.RawFileSystem.
func (fs *fileSystem) GetXAttr(_ <-chan struct{}, header *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if checkXattr(name) != nil {
		return 0, fuse.ENODATA
	}
	return fs.readXattr(header.NodeId, func(path string) (int, error) { return unix.Getxattr(path, name, dest) })
}

// ListXAttr implements fuse.RawFileSystem.
func (fs *fileSystem) ListXAttr(_ <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	return fs.readXattr(header.NodeId, func(path string) (int, error) { return unix.Listxattr(path, dest) })
}

func (fs *fileSystem) readXattr(id uint64, read func(path string) (int, error)) (uint32, fuse.Status) {
	node, err := fs.inodes.get(id)
	if err != nil {
		return 0, status(err)
	}
	defer fs.inodes.put(node)
	n, err := read(xattrPath(node.fd))
	return uint32(max(n, 0)), status(err)
}

// SetXAttr implements fuse.RawFileSystem.
func (fs *fileSystem) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	if int(in.Size) != len(data) {
		return fuse.EINVAL
	}
	return fs.writeXattr(in.NodeId, name, func(path string) error {
		return unix.Setxattr(path, name, data, int(in.Flags))
	})
}

// RemoveXAttr implements fuse.RawFileSystem.
func (fs *fileSystem) RemoveXAttr(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return fs.writeXattr(header.NodeId, name, func(path string) error { return unix.Removexattr(path, name) })
}

func (fs *fileSystem) writeXattr(id uint64, name string, write func(path string) error) fuse.Status {
	if fs.readOnly {
		return fuse.EROFS
	}
	if err := checkXattr(name); err != nil {
		return status(err)
	}
	node, err := fs.inodes.get(id)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(node)
	return status(write(xattrPath(node.fd)))
}
