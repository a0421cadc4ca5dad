package holt

import (
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// FileStat is what the Sys method of a guest file's fs.FileInfo returns: what the
// guest's kernel knows besides.
type FileStat struct {
	UID, GID uint32
	Links    uint64 // names of the file
	Inode    uint64
	Device   uint64 // the number that a device node stands for (makedev(3))
	Target   string // what a symbolic link holds; any bytes
}

// fileInfo implements fs.FileInfo.
type fileInfo struct{ i agentproto.FileInfo }

// infoAt is what is known of the file at a path of the guest.
func infoAt(p string, i agentproto.FileInfo) fs.FileInfo {
	i.Name = agentproto.Name(path.Base(p))
	if p == "/" {
		i.Name = "." // what io/fs calls it
	}
	return fileInfo{i}
}

// Name implements fs.FileInfo.
func (f fileInfo) Name() string { return string(f.i.Name) }

// Size implements fs.FileInfo.
func (f fileInfo) Size() int64 { return f.i.Size }

// Mode implements fs.FileInfo.
func (f fileInfo) Mode() fs.FileMode { return fileMode(f.i.Mode) }

// ModTime implements fs.FileInfo.
func (f fileInfo) ModTime() time.Time { return time.Unix(0, f.i.MTimeNS) }

// IsDir implements fs.FileInfo.
func (f fileInfo) IsDir() bool { return f.Mode().IsDir() }

// Sys implements fs.FileInfo.
func (f fileInfo) Sys() any {
	return &FileStat{f.i.UID, f.i.GID, f.i.Nlink, f.i.Inode, f.i.Rdev, string(f.i.Target)}
}

// String implements fmt.Stringer.
func (f fileInfo) String() string { return fs.FormatFileInfo(f) }

// modeBits are what bits of Linux's st_mode are called in Go.
var modeBits = []struct {
	linux uint32
	bit   fs.FileMode
}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}}

// modeTypes are what file types of Linux's st_mode are in Go.
var modeTypes = map[uint32]fs.FileMode{
	unix.S_IFREG:  0,
	unix.S_IFDIR:  fs.ModeDir,
	unix.S_IFLNK:  fs.ModeSymlink,
	unix.S_IFIFO:  fs.ModeNamedPipe,
	unix.S_IFSOCK: fs.ModeSocket,
	unix.S_IFBLK:  fs.ModeDevice,
	unix.S_IFCHR:  fs.ModeDevice | fs.ModeCharDevice,
}

// fileMode is Linux's st_mode as a mode of Go.
func fileMode(linux uint32) fs.FileMode {
	kind, ok := modeTypes[linux&unix.S_IFMT]
	if !ok {
		kind = fs.ModeIrregular
	}
	mode := kind | fs.FileMode(linux).Perm()
	for _, b := range modeBits {
		if linux&b.linux != 0 {
			mode |= b.bit
		}
	}
	return mode
}

// linuxMode is the permission bits of a mode of Go as those of Linux, with the set-id
// and sticky bits.
func linuxMode(mode fs.FileMode) uint32 {
	linux := uint32(mode.Perm())
	for _, b := range modeBits {
		if mode&b.bit != 0 {
			linux |= b.linux
		}
	}
	return linux
}
