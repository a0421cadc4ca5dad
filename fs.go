package holt

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"net"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// FS is the file system of a VM's guest, as root sees it there: no path of the host is
// involved. It needs a running VM. It implements fs.FS, fs.ReadDirFS, fs.StatFS,
// fs.ReadFileFS and fs.ReadLinkFS, whose methods take names as io/fs wants them
// ("etc/passwd"), except that they need not be UTF-8. The others take absolute ones
// ("/etc/passwd") as well, and make them clean first.
//
// Errors are *fs.PathError, those of Rename *os.LinkError. [errors.Is] finds
// fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and many a syscall.Errno in them, and
// ErrNotRunning; [errors.AsType] finds a *StateError, or the *GuestError of a guest that
// died meanwhile.
//
// The guest decides what a file holds and how long it is. An FS may be used by several
// goroutines.
type FS struct {
	vm  *VM
	ctx context.Context // as of http.Request: io/fs has no place for one
}

// FS returns the guest's file system. Its operations end when the guest does; see
// [FS.WithContext].
func (vm *VM) FS() *FS { return &FS{vm, context.Background()} }

// WithContext returns the file system with operations that end when ctx does, with its
// error. Files that it opens can be used as long as ctx lives.
func (f *FS) WithContext(ctx context.Context) *FS { return &FS{f.vm, ctx} }

// Open opens a file for reading, or a directory for fs.ReadDirFile. A file can be
// sought and read at an offset, too (io.Seeker, io.ReaderAt); that opens it anew, by its
// name. Devices and FIFOs cannot be opened.
func (f *FS) Open(name string) (fs.File, error) {
	p, err := rooted("open", name)
	if err != nil {
		return nil, err
	}
	r, err := f.read("open", name, p, 0, -1)
	if errors.Is(err, syscall.EISDIR) {
		info, err := f.stat("open", name, p, true)
		if err != nil {
			return nil, err
		}
		return f.dir(name, p, info), nil
	}
	if err != nil {
		return nil, err
	}
	return &guestFile{fs: f, name: name, path: p, info: infoAt(p, r.Info), r: r}, nil
}

// ReadFile returns what is in a file, however much that is.
func (f *FS) ReadFile(name string) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// ReadDir returns what is in a directory, sorted by name. It fails when a directory
// takes more than 256 MiB of memory; fs.ReadDirFile reads one of any size in parts.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	p, err := rooted("open", name)
	if err != nil {
		return nil, err
	}
	d := f.dir(name, p, nil)
	defer d.Close()
	list, err := d.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// Stat returns what is known of a file; of a symbolic link, what it leads to. Sys is
// a *FileStat.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	p, err := rooted("stat", name)
	if err != nil {
		return nil, err
	}
	return f.stat("stat", name, p, true)
}

// Lstat is Stat, except that it returns what is known of a symbolic link itself.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	p, err := rooted("lstat", name)
	if err != nil {
		return nil, err
	}
	return f.stat("lstat", name, p, false)
}

// ReadLink returns what a symbolic link holds.
func (f *FS) ReadLink(name string) (string, error) {
	p, err := rooted("readlink", name)
	if err != nil {
		return "", err
	}
	var text string
	err = f.ask("readlink", name, p, func(conn net.Conn) (err error) {
		text, err = agentclient.ReadLink(f.ctx, conn, p)
		return err
	})
	return text, err
}

// stat returns what is known of the file at p in the guest.
func (f *FS) stat(op, name, p string, follow bool) (fs.FileInfo, error) {
	var info agentproto.FileInfo
	err := f.ask(op, name, p, func(conn net.Conn) (err error) {
		info, err = agentclient.Stat(f.ctx, conn, p, follow)
		return err
	})
	if err != nil {
		return nil, err
	}
	return infoAt(p, info), nil
}

// entries gives what is in the directory at p in the guest.
func (f *FS) entries(name, p string) iter.Seq2[fs.DirEntry, error] {
	return sequence(func(each func(fs.DirEntry) error) error {
		return f.ask("readdir", name, p, func(conn net.Conn) error {
			return agentclient.ReadDir(f.ctx, conn, p, func(i agentproto.FileInfo) error {
				return each(fs.FileInfoToDirEntry(fileInfo{i}))
			})
		})
	})
}

// read begins to read the file at p in the guest.
func (f *FS) read(op, name, p string, offset, length int64) (r *agentclient.FileReader, err error) {
	err = f.ask(op, name, p, func(conn net.Conn) (err error) {
		r, err = agentclient.ReadFile(f.ctx, conn, p, offset, length)
		return err
	})
	return r, err
}

// ask has use make one operation of a new connection to the agent. p is the guest's path
// of what the caller calls name.
func (f *FS) ask(op, name, p string, use func(net.Conn) error) error {
	conn, err := f.vm.agent(f.ctx)
	if err == nil {
		err = use(conn)
	}
	return f.failed(op, name, p, err)
}

// failed is the error of an operation on the file at p in the guest.
func (f *FS) failed(op, name, p string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: f.reason(p, err)}
}

// reason is what went wrong, without the file's name.
func (f *FS) reason(p string, err error) error {
	said, ok := errors.AsType[*agentproto.Error](err)
	if !ok {
		return f.vm.lost(f.ctx, err)
	}
	text := said.Message
	if errno, ok := errnos[said.Kind]; ok {
		text = errno.Error()
	} else if _, rest, ok := strings.Cut(text, " "+agentproto.Printable(p, len(p))+": "); ok {
		text = rest
	}
	return &refusal{said, text}
}

// refusal is what the guest says why something cannot be done with a file.
type refusal struct {
	said *agentproto.Error
	text string
}

// Error implements error.
func (e *refusal) Error() string { return e.text }

// Unwrap implements what errors.As asks for.
func (e *refusal) Unwrap() error { return e.said }

// Is implements what errors.Is asks for.
func (e *refusal) Is(target error) bool {
	errno, ok := errnos[e.said.Kind]
	return ok && (target == error(errno) || errno.Is(target))
}

// errnos are the errors of the system that kinds of the agent's errors stand for.
var errnos = map[agentproto.ErrorKind]syscall.Errno{
	agentproto.KindNotFound:   syscall.ENOENT,
	agentproto.KindExists:     syscall.EEXIST,
	agentproto.KindPermission: syscall.EPERM,
	agentproto.KindNotDir:     syscall.ENOTDIR,
	agentproto.KindIsDir:      syscall.EISDIR,
	agentproto.KindNotEmpty:   syscall.ENOTEMPTY,
	agentproto.KindNoSpace:    syscall.ENOSPC,
	agentproto.KindReadOnly:   syscall.EROFS,
}

// rooted is the guest's path of a name of io/fs.
func rooted(op, name string) (string, error) {
	if !fs.ValidPath(strings.ToValidUTF8(name, "x")) || strings.IndexByte(name, 0) >= 0 {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return inGuest(name), nil
}

// inGuest is the guest's path of a name that is absolute or relative to /.
func inGuest(name string) string { return path.Clean("/" + name) }
