package fsserver

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Read implements fuse.RawFileSystem.
func (fs *fileSystem) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	h, err := fs.handles.get(in.Fh, in.NodeId, false)
	if err != nil {
		return nil, status(err)
	}
	return &readResult{handles: fs.handles, h: h, off: int64(in.Offset), size: int(in.Size)}, fuse.OK
}

// readResult reads from the file straight into the reply.
type readResult struct {
	handles *handleTable
	h       *handle
	off     int64
	size    int
}

// Readv is what the protocol library uses for a scattered reply.
func (r *readResult) Readv(dst [][]byte) (n int, code fuse.Status) {
	err := uninterrupted(func() (err error) {
		n, err = unix.Preadv(r.h.fd, dst, r.off)
		return err
	})
	return max(n, 0), status(err)
}

func (r *readResult) Bytes(buf []byte) ([]byte, fuse.Status) {
	n, code := r.Readv([][]byte{buf[:min(len(buf), r.size)]})
	return buf[:n], code
}

func (r *readResult) Size() int { return r.size }

func (r *readResult) Done() { r.handles.put(r.h) }

// Write implements fuse.RawFileSystem.
func (fs *fileSystem) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return fs.Writev(cancel, in, [][]byte{data})
}

// Writev implements fuse.RawFileSystem.
func (fs *fileSystem) Writev(_ <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if fs.readOnly {
		return 0, fuse.EROFS
	}
	h, err := fs.handles.get(in.Fh, in.NodeId, false)
	if err != nil {
		return 0, status(err)
	}
	defer fs.handles.put(h)
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := fs.clearSetID(h.fd); err != nil {
			return 0, status(err)
		}
	}
	flags := 0
	if in.Flags&unix.O_APPEND != 0 && in.WriteFlags&fuse.WRITE_CACHE == 0 {
		flags = unix.RWF_APPEND
	}
	var n int
	err = uninterrupted(func() (err error) {
		n, err = unix.Pwritev2(h.fd, data, int64(in.Offset), flags)
		return err
	})
	return uint32(max(n, 0)), status(err)
}

// Flush implements fuse.RawFileSystem. Nothing is held back until close.
func (fs *fileSystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release implements fuse.RawFileSystem.
func (fs *fileSystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	fs.handles.release(in.Fh, in.NodeId, false)
}

// Fsync implements fuse.RawFileSystem.
func (fs *fileSystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.sync(in, false)
}

// fsyncData asks for the data only (FUSE_FSYNC_FDATASYNC in linux/fuse.h).
const fsyncData = 1

func (fs *fileSystem) sync(in *fuse.FsyncIn, dir bool) fuse.Status {
	h, err := fs.handles.get(in.Fh, in.NodeId, dir)
	if err != nil {
		return status(err)
	}
	defer fs.handles.put(h)
	if in.FsyncFlags&fsyncData != 0 {
		return status(uninterrupted(func() error { return unix.Fdatasync(h.fd) }))
	}
	return status(uninterrupted(func() error { return unix.Fsync(h.fd) }))
}

// Fallocate implements fuse.RawFileSystem.
func (fs *fileSystem) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	// The others move data, which the guest's page cache would not notice.
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	if fs.readOnly {
		return fuse.EROFS
	}
	if in.Mode&^known != 0 {
		return fuse.ENOTSUP
	}
	h, err := fs.handles.get(in.Fh, in.NodeId, false)
	if err != nil {
		return status(err)
	}
	defer fs.handles.put(h)
	return status(uninterrupted(func() error {
		return unix.Fallocate(h.fd, in.Mode, int64(in.Offset), int64(in.Length))
	}))
}

// Lseek implements fuse.RawFileSystem. The guest's kernel asks only for data
// and holes.
func (fs *fileSystem) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE {
		return fuse.EINVAL
	}
	h, err := fs.handles.get(in.Fh, in.NodeId, false)
	if err != nil {
		return status(err)
	}
	defer fs.handles.put(h)
	off, err := unix.Seek(h.fd, int64(in.Offset), int(in.Whence))
	out.Offset = uint64(off)
	return status(err)
}

// maxCopy bounds one COPY_FILE_RANGE, in bytes, and with it how long a request
// can keep a worker; the guest asks again for the rest.
const maxCopy = 128 << 20

// CopyFileRange implements fuse.RawFileSystem.
func (fs *fileSystem) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	if fs.readOnly {
		return 0, fuse.EROFS
	}
	src, err := fs.handles.get(in.FhIn, in.NodeId, false)
	if err != nil {
		return 0, status(err)
	}
	defer fs.handles.put(src)
	dst, err := fs.handles.get(in.FhOut, in.NodeIdOut, false)
	if err != nil {
		return 0, status(err)
	}
	defer fs.handles.put(dst)
	var n int
	err = uninterrupted(func() (err error) {
		from, to := int64(in.OffIn), int64(in.OffOut)
		n, err = unix.CopyFileRange(src.fd, &from, dst.fd, &to, int(min(in.Len, maxCopy)), int(in.Flags))
		return err
	})
	return uint32(max(n, 0)), status(err)
}
