package agent

import (
	"errors"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// listBatch is how many entries of a directory are read at once.
const listBatch = 256

// statFile reports what q.Path is.
func statFile(out *agentproto.Batch, q agentproto.FileRequest) error {
	info, err := fileInfo(unix.AT_FDCWD, string(q.Path), q.Follow)
	if err != nil {
		return &os.PathError{Op: "stat", Path: string(q.Path), Err: err}
	}
	return out.Report(info)
}

// fileInfo is what the kernel knows of name, relative to the directory dir.
func fileInfo(dir int, name string, follow bool) (agentproto.FileInfo, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(dir, name, &st, flags) }); err != nil {
		return agentproto.FileInfo{}, err
	}
	info := infoOf(&st)
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, agentproto.MaxPath)
		// The kernel does not know what some links of /proc hold.
		if n, err := unix.Readlinkat(dir, name, buf); err == nil {
			info.Target = agentproto.Name(buf[:n])
		}
	}
	return info, nil
}

func infoOf(st *unix.Stat_t) agentproto.FileInfo {
	return agentproto.FileInfo{
		Mode: st.Mode, Size: st.Size, MTimeNS: st.Mtim.Nano(), UID: st.Uid, GID: st.Gid,
		Nlink: uint64(st.Nlink), //nolint:unconvert // it has 32 bits on arm64
		Inode: st.Ino, Rdev: st.Rdev,
	}
}

// listFiles reports what is in a directory. What vanishes meanwhile is left out.
func listFiles(out *agentproto.Batch, dir string) error {
	return eachEntry(dir, func(fd int, e os.DirEntry) error {
		info, err := fileInfo(fd, e.Name(), false)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "stat", Path: path.Join(dir, e.Name()), Err: err}
		}
		info.Name = agentproto.Name(e.Name())
		return out.Report(info)
	})
}

// eachEntry calls f with each entry of a directory and the directory's descriptor.
// Few entries are in memory at once, however many there are.
func eachEntry(dir string, f func(fd int, e os.DirEntry) error) error {
	// The kernel refuses what is no directory: opening a FIFO could wait.
	fd, err := openFile(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	for {
		entries, err := d.ReadDir(listBatch)
		for _, e := range entries {
			if err := f(fd, e); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
