package fsserver

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fileSystem implements the FUSE operations on descriptors. Those that it does
// not implement are answered with ENOSYS by the embedded default.
type fileSystem struct {
	fuse.RawFileSystem

	log      *slog.Logger
	readOnly bool
	replaced bool // as in Options
	ids      ids
	procFD   int // /proc/self/fd, to reopen descriptors

	budget  *budget
	inodes  *inodeTable
	handles *handleTable
}

func newFileSystem(root string, opts Options, log *slog.Logger) (_ *fileSystem, err error) {
	fs := &fileSystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		log:           log,
		readOnly:      opts.ReadOnly,
		replaced:      opts.Replaced,
		ids:           newIDs(os.Geteuid(), os.Getegid()),
	}
	files := opts.Budget
	if files == nil {
		if files, err = ProcessBudget(); err != nil {
			return nil, err
		}
	}
	fs.budget = &budget{Budget: files, log: log}
	if fs.procFD, err = openDirFD("/proc/self/fd"); err != nil {
		return nil, err
	}
	// Not through the budget, as this one must not fail: it is never given back
	// before close.
	rootFD, err := openDirFD(root)
	if err != nil {
		unix.Close(fs.procFD)
		return nil, err
	}
	if fs.inodes, err = newInodeTable(rootFD, fs.budget); err != nil {
		unix.Close(fs.procFD)
		unix.Close(rootFD)
		return nil, err
	}
	fs.handles = newHandleTable(fs.budget)
	return fs, nil
}

func openDirFD(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// String implements fuse.RawFileSystem.
func (fs *fileSystem) String() string { return "holt" }

// reset closes what the guest opened and forgets what it knew. No request runs.
func (fs *fileSystem) reset() {
	fs.handles.reset()
	fs.inodes.reset()
}

func (fs *fileSystem) close() error {
	fs.reset()
	return errors.Join(unix.Close(fs.inodes.root.fd), unix.Close(fs.procFD))
}

// panicked turns a panic while serving one request into EIO for that request.
func (fs *fileSystem) panicked(reason any) fuse.Status {
	fs.log.Error("fuse operation panicked", "panic", reason, "stack", string(debug.Stack()))
	return fuse.EIO
}

// child opens a name of a directory without following anything. Flags need
// neither O_CLOEXEC nor O_NOFOLLOW; mode counts with O_CREAT.
func (fs *fileSystem) child(dir *inode, name string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	return fs.budget.open(func() (int, error) { return unix.Openat2(dir.fd, name, &how) })
}

// reopen opens the file behind a descriptor once more with other flags. Only
// regular files and directories may be opened for input or output.
func (fs *fileSystem) reopen(fd, flags int) (int, error) {
	return fs.budget.open(func() (int, error) {
		return unix.Openat(fs.procFD, strconv.Itoa(fd), flags|unix.O_CLOEXEC, 0)
	})
}

// statFD reads the attributes of any descriptor.
func statFD(fd int) (*unix.Statx_t, error) {
	return statxFD(fd, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID)
}

func statxFD(fd, mask int) (*unix.Statx_t, error) {
	st := new(unix.Statx_t)
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, mask, st)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// status turns a system call's error into a FUSE status.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fuse.Status(errno)
	}
	return fuse.EIO
}

// uninterrupted repeats a system call that a signal of the Go runtime ended.
func uninterrupted(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
