package agent

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// openFile opens path without waiting for a FIFO's other end or a terminal's carrier.
func openFile(path string, flags int, mode uint32) (int, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// retry repeats a system call that a signal ended: file systems in user space let
// signals do that.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// plainFile is a file whose reads and writes never wait for another program. It is
// no os.File, which waits for what can be waited for.
type plainFile struct {
	fd   int
	path string
}

// Read implements io.Reader. A file that has nothing to read yet, such as
// /proc/kmsg, ends there.
func (f plainFile) Read(b []byte) (int, error) {
	var n int
	err := retry(func() (err error) {
		n, err = unix.Read(f.fd, b)
		return err
	})
	switch {
	case errors.Is(err, unix.EAGAIN), err == nil && n == 0:
		return 0, io.EOF
	case err != nil:
		return 0, f.failed("read", err)
	}
	return n, nil
}

// Write implements io.Writer.
func (f plainFile) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		err := retry(func() error {
			n, err := unix.Write(f.fd, b[done:])
			done += max(n, 0)
			return err
		})
		if err != nil {
			return done, f.failed("write", err)
		}
	}
	return done, nil
}

// readSmall reads at most limit bytes of a file of the kernel. The guest may have put
// something else there, which must neither be waited for nor have no end.
func readSmall(path string, limit int64) ([]byte, error) {
	fd, err := openFile(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return io.ReadAll(io.LimitReader(plainFile{fd, path}, limit))
}

// begin goes to an offset, in bytes.
func (f plainFile) begin(offset int64) error {
	if offset == 0 {
		return nil
	}
	if _, err := unix.Seek(f.fd, offset, io.SeekStart); err != nil {
		return f.failed("seek", err)
	}
	return nil
}

func (f plainFile) failed(op string, err error) error {
	return &os.PathError{Op: op, Path: f.path, Err: err}
}

// stat returns what the file is. A FIFO, which has no content, is refused.
func (f plainFile) stat() (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return st, f.failed("stat", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		return st, refuse(agentproto.KindInvalid, "%s is a FIFO: run a program in the guest that reads or writes it", f.path)
	}
	return st, nil
}

// readFile sends the content of q.Path.
func readFile(out *agentproto.Batch, q agentproto.FileRequest) error {
	fd, err := openFile(string(q.Path), unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	f := plainFile{fd, string(q.Path)}
	st, err := f.stat()
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFBLK:
	case unix.S_IFDIR:
		return f.failed("read", unix.EISDIR)
	default:
		if q.Length < 0 {
			return refuse(agentproto.KindInvalid, "%s is a device, which may have no end: say how many bytes to read", f.path)
		}
	}
	if err := f.begin(q.Offset); err != nil {
		return err
	}
	if err := out.Report(infoOf(&st)); err != nil {
		return err
	}
	if q.Length < 0 {
		return out.Data(f)
	}
	return out.Data(io.LimitReader(f, q.Length))
}

// writeFile makes data the content of q.Path, in place: who has the file open, or
// another name of it, sees them. What has arrived stays if the rest does not.
func writeFile(data *agentproto.DataReader, q agentproto.FileRequest) (err error) {
	if err := makeParents(q); err != nil {
		return err
	}
	f, err := openForWriting(q)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := unix.Close(f.fd); cerr != nil && err == nil {
			err = f.failed("close", cerr)
		}
	}()
	if _, err := f.stat(); err != nil {
		return err
	}
	if err := f.begin(q.Offset); err != nil {
		return err
	}
	_, err = data.WriteTo(f)
	return err
}

// openForWriting opens q.Path. A file that it makes has the mode that q says.
func openForWriting(q agentproto.FileRequest) (plainFile, error) {
	f := plainFile{path: string(q.Path)}
	flags := unix.O_WRONLY
	for _, o := range []struct {
		want bool
		flag int
	}{{q.Create, unix.O_CREAT}, {q.Exclusive, unix.O_EXCL}, {q.Truncate, unix.O_TRUNC}, {q.Append, unix.O_APPEND}} {
		if o.want {
			flags |= o.flag
		}
	}
	var st unix.Stat_t
	made := q.Create && errors.Is(unix.Stat(f.path, &st), unix.ENOENT)
	var err error
	if f.fd, err = openFile(f.path, flags, q.Mode); err != nil || !made {
		return f, err
	}
	if err := unix.Fchmod(f.fd, q.Mode); err != nil { // the umask took from it
		_ = unix.Close(f.fd)
		return f, f.failed("chmod", err)
	}
	return f, nil
}
