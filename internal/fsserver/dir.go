package fsserver

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Sizes in bytes that decide how much of a directory to read for one reply:
// entries that were read and do not fit would have to be read again.
const (
	// maxDirent is a linux_dirent64 with the longest name.
	maxDirent = (19 + maxName + 1 + 7) &^ 7
	// A one-letter name takes minDirent from the host and minReply (plain) or
	// minReplyPlus (with attributes) in the reply. No name has a worse ratio.
	minDirent    = 24
	minReply     = 32
	minReplyPlus = 160
	// maxDirRead bounds one getdents64.
	maxDirRead = 32 << 10
)

// OpenDir implements fuse.RawFileSystem.
func (fs *fileSystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	dir, err := fs.inodes.getDir(in.NodeId)
	if err != nil {
		return status(err)
	}
	defer fs.inodes.put(dir)
	fd, err := fs.openForIO(dir.fd, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return status(err)
	}
	*out = fuse.OpenOut{Fh: fs.handles.add(dir.id, fd, true)}
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (fs *fileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return status(fs.readDir(in, minReply, func(_ *inode, e fuse.DirEntry) bool {
		return out.AddDirEntry(e)
	}))
}

// ReadDirPlus implements fuse.RawFileSystem.
func (fs *fileSystem) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return status(fs.readDir(in, minReplyPlus, func(dir *inode, e fuse.DirEntry) bool {
		slot := out.AddDirLookupEntry(e)
		if slot == nil {
			return false
		}
		// The slot may be guest memory: it is written once and never read. Left
		// empty, it means that the guest has to look the name up.
		var entry fuse.EntryOut
		if checkName(e.Name) == nil && fs.lookup(dir, e.Name, &entry) == nil {
			*slot = entry
		}
		return true
	}))
}

// readDir calls add for each entry from the offset that the guest gave, until
// the reply is full. worst is the size in the reply of the shortest entry.
func (fs *fileSystem) readDir(in *fuse.ReadIn, worst int, add func(*inode, fuse.DirEntry) bool) error {
	dir, err := fs.inodes.getDir(in.NodeId)
	if err != nil {
		return err
	}
	defer fs.inodes.put(dir)
	h, err := fs.handles.get(in.Fh, in.NodeId, true)
	if err != nil {
		return err
	}
	defer fs.handles.put(h)
	h.mu.Lock()
	defer h.mu.Unlock()
	if in.Offset != h.next || in.Offset == 0 {
		if _, err := unix.Seek(h.fd, int64(in.Offset), unix.SEEK_SET); err != nil {
			return err
		}
		h.next = in.Offset
	}
	return fs.readEntries(h, dir, int(in.Size), worst, add)
}

func (fs *fileSystem) readEntries(h *handle, dir *inode, room, worst int, add func(*inode, fuse.DirEntry) bool) error {
	buf := make([]byte, min(max(room*minDirent/worst, maxDirent), maxDirRead))
	for added := false; ; added = true {
		n, err := unix.Getdents(h.fd, buf)
		if err == unix.EINVAL && added { // the next entry is longer than buf
			return nil
		}
		if err != nil || n == 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			var e fuse.DirEntry
			size := e.Parse(rest)
			rest = rest[size:]
			if e.Name == ".." && dir == fs.inodes.root {
				e.Ino = dir.key.ino // what is above is not the guest's to know
			}
			e.Ino = fs.inodeNumber(e.Ino, dir.key.major, dir.key.minor)
			if !add(dir, e) {
				// Only a reply smaller than one entry gets here.
				_, err := unix.Seek(h.fd, int64(h.next), unix.SEEK_SET)
				return err
			}
			h.next = e.Off
			room -= replySize(e.Name, worst)
		}
		if buf = buf[:min(max(room, 0)*minDirent/worst, len(buf))]; len(buf) < minDirent {
			return nil
		}
	}
}

// replySize is what an entry takes in a reply whose shortest entry is worst.
func replySize(name string, worst int) int {
	return worst - minReply + (24+len(name)+7)&^7
}

// ReleaseDir implements fuse.RawFileSystem.
func (fs *fileSystem) ReleaseDir(in *fuse.ReleaseIn) {
	fs.handles.release(in.Fh, in.NodeId, true)
}

// FsyncDir implements fuse.RawFileSystem.
func (fs *fileSystem) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.sync(in, true)
}
