package holt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

// WriteFile writes data to a file: an existing one is written in place and keeps its
// mode, a new one gets perm. The mode of what is made is taken as it is here and in
// all other methods: the guest has no umask for it.
func (f *FS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	p := inGuest(name)
	q := agentproto.FileRequest{Path: agentproto.Name(p), Create: true, Truncate: true, Mode: linuxMode(perm)}
	return f.ask("write", name, p, func(conn net.Conn) error {
		_, err := agentclient.WriteFile(f.ctx, conn, q, bytes.NewReader(data))
		return err
	})
}

// Create is OpenFile of a file that is emptied, or made with the mode 0644.
func (f *FS) Create(name string) (io.WriteCloser, error) {
	return f.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
}

// OpenFile opens a file for writing. flag is os.O_WRONLY with any of os.O_CREATE,
// os.O_EXCL, os.O_TRUNC and os.O_APPEND; [FS.Open] is for reading. The guest answers
// while or after it is written: an error of opening comes from Write or Close, and only
// after a Close without one everything is written. When the guest refuses, an io.Copy
// to the file returns, although a Read of its source may not have.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (io.WriteCloser, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | os.O_TRUNC | os.O_APPEND
	if flag&os.O_WRONLY == 0 || flag&^flags != 0 {
		err := fmt.Errorf("%w: flag %#x: must be os.O_WRONLY with os.O_CREATE, O_EXCL, O_TRUNC or O_APPEND", fs.ErrInvalid, flag)
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	p := inGuest(name)
	conn, err := f.vm.agent(f.ctx)
	if err != nil {
		return nil, f.failed("open", name, p, err)
	}
	q := agentproto.FileRequest{
		Path:      agentproto.Name(p),
		Create:    flag&os.O_CREATE != 0,
		Exclusive: flag&os.O_EXCL != 0 && flag&os.O_CREATE != 0, // open(2) ignores it alone
		Truncate:  flag&os.O_TRUNC != 0,
		Append:    flag&os.O_APPEND != 0,
	}
	if q.Create {
		q.Mode = linuxMode(perm)
	}
	r, w := io.Pipe()
	file := &guestWriter{name: name, data: w, done: make(chan struct{})}
	go func() {
		defer close(file.done)
		_, err := agentclient.WriteFile(f.ctx, conn, q, r)
		file.err = f.failed("write", name, p, err)
		_ = r.CloseWithError(file.err)
	}()
	return file, nil
}

// guestWriter is a file of the guest that was opened for writing.
type guestWriter struct {
	name   string
	data   *io.PipeWriter
	done   chan struct{} // closed when the guest has answered, with err
	err    error
	closed bool
}

// Write implements io.Writer.
func (w *guestWriter) Write(p []byte) (int, error) {
	if w.closed {
		return 0, &fs.PathError{Op: "write", Path: w.name, Err: fs.ErrClosed}
	}
	return w.data.Write(p)
}

// ReadFrom implements io.ReaderFrom.
func (w *guestWriter) ReadFrom(r io.Reader) (int64, error) {
	type result struct {
		n   int64
		err error
	}
	copied := make(chan result, 1)
	go func() {
		n, err := io.Copy(w.data, r)
		copied <- result{n, err}
	}()
	select {
	case c := <-copied:
		return c.n, c.err
	case <-w.done:
		return 0, w.err
	}
}

// Close ends the data and returns when the guest has all of them.
func (w *guestWriter) Close() error {
	if w.closed {
		return &fs.PathError{Op: "close", Path: w.name, Err: fs.ErrClosed}
	}
	w.closed = true
	_ = w.data.Close()
	<-w.done
	return w.err
}

// Mkdir makes a directory.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return f.change("mkdir", name, agentproto.FileRequest{Op: agentproto.FileMkdir, Mode: linuxMode(perm)})
}

// MkdirAll makes a directory, unless there is one, and those above it that are missing;
// they get the mode 0755.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	return f.change("mkdir", name, agentproto.FileRequest{Op: agentproto.FileMkdir, Parents: true, Mode: linuxMode(perm)})
}

// Rename gives a file another name, in place of what has it. The two names must be on
// one file system.
func (f *FS) Rename(oldName, newName string) error {
	from, to := inGuest(oldName), inGuest(newName)
	q := agentproto.FileRequest{Op: agentproto.FileRename, Path: agentproto.Name(from), To: agentproto.Name(to)}
	err := f.ask("rename", oldName, from+" "+to, func(conn net.Conn) error { return agentclient.FileOp(f.ctx, conn, q) })
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: failed.Err}
	}
	return err
}

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	return f.change("remove", name, agentproto.FileRequest{Op: agentproto.FileRemove})
}

// RemoveAll removes a file, or a directory with all that is in it. That there is none is
// no error.
func (f *FS) RemoveAll(name string) error {
	err := f.change("remove", name, agentproto.FileRequest{Op: agentproto.FileRemove, Recursive: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Chmod sets a file's permission, set-id and sticky bits.
func (f *FS) Chmod(name string, mode fs.FileMode) error {
	return f.change("chmod", name, agentproto.FileRequest{Op: agentproto.FileChmod, Mode: linuxMode(mode)})
}

// Chown sets a file's owner and group; -1 leaves what there is.
func (f *FS) Chown(name string, uid, gid int) error {
	q := agentproto.FileRequest{Op: agentproto.FileChown, Follow: true}
	for _, id := range []struct {
		n  int
		to **uint32
	}{{uid, &q.UID}, {gid, &q.GID}} {
		if id.n == -1 {
			continue
		}
		n := uint32(id.n)
		if int64(n) != int64(id.n) {
			return &fs.PathError{Op: "chown", Path: name, Err: fmt.Errorf("%w: id %d: must be -1 to 4294967295", fs.ErrInvalid, id.n)}
		}
		*id.to = &n
	}
	return f.change("chown", name, q)
}

// Chtimes sets the time of a file's last modification. Years before 1678 and after 2261
// become the nearest that there is.
func (f *FS) Chtimes(name string, modified time.Time) error {
	ns := filetree.MTimeNS(modified.Unix(), int64(modified.Nanosecond()))
	return f.change("chtimes", name, agentproto.FileRequest{Op: agentproto.FileChtimes, Follow: true, MTimeNS: ns})
}

// Symlink makes a symbolic link at name that holds target, any text.
func (f *FS) Symlink(target, name string) error {
	return f.change("symlink", name, agentproto.FileRequest{Op: agentproto.FileSymlink, To: agentproto.Name(target)})
}

// change does what has no other answer than that it is done.
func (f *FS) change(op, name string, q agentproto.FileRequest) error {
	p := inGuest(name)
	q.Path = agentproto.Name(p)
	return f.ask(op, name, p, func(conn net.Conn) error { return agentclient.FileOp(f.ctx, conn, q) })
}
