package agenttest

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

// Files is an agent that serves files: the directory root is the guest's /. Symbolic
// links lead where they lead on the host, and nothing is watched.
func Files(root string) func(net.Conn) {
	return func(conn net.Conn) {
		in, out := agentproto.NewReader(conn, agentproto.Host), agentproto.NewBatch(conn)
		q, err := Request(in)
		if err == nil {
			err = answer(in, out, root, q)
		}
		_ = out.Flush()
		if err != nil {
			_ = agentproto.NewWriter(conn).Error(said(root, err))
		}
		for err = nil; err == nil; {
			_, err = in.Next() // the client closes
		}
	}
}

// Request reads what the client wants done with files.
func Request(in *agentproto.Reader) (q agentproto.FileRequest, err error) {
	if _, err := in.Request(); err != nil {
		return q, err
	}
	f, err := in.Next()
	if err != nil {
		return q, err
	}
	return agentproto.DecodeFileRequest(f.Payload)
}

// kinds are what errors are called on the wire.
var kinds = map[error]agentproto.ErrorKind{
	unix.ENOENT: agentproto.KindNotFound, unix.EEXIST: agentproto.KindExists, unix.EPERM: agentproto.KindPermission,
	unix.ENOTDIR: agentproto.KindNotDir, unix.EISDIR: agentproto.KindIsDir, unix.ENOTEMPTY: agentproto.KindNotEmpty,
}

func said(root string, err error) *agentproto.Error {
	if e, ok := errors.AsType[*agentproto.Error](err); ok {
		return e
	}
	e := &agentproto.Error{Kind: agentproto.KindInternal, Message: strings.ReplaceAll(err.Error(), root, "")}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && kinds[errno] != "" {
		e.Kind = kinds[errno]
	}
	return e
}

func answer(in *agentproto.Reader, out *agentproto.Batch, root string, q agentproto.FileRequest) error {
	p, last := filepath.Join(root, string(q.Path)), agentproto.TypeOK
	var err error
	switch q.Op {
	case agentproto.FileStat:
		err = report(out, p, "", q.Follow)
	case agentproto.FileList:
		var entries []fs.DirEntry
		if entries, err = os.ReadDir(p); err == nil {
			for _, e := range entries {
				err = errors.Join(err, report(out, filepath.Join(p, e.Name()), e.Name(), false))
			}
		}
	case agentproto.FileRead:
		err, last = read(out, p, q), agentproto.TypeEnd
	case agentproto.FileWrite:
		err = write(in.Data(), p, q)
	case agentproto.FilePull:
		last = agentproto.TypeEnd
		var tree *filetree.Reader
		if tree, err = filetree.Open(p, filetree.ReadOptions{Follow: q.Follow}); err == nil {
			defer tree.Close()
			err = out.Tree(tree.Next)
		}
	case agentproto.FilePush:
		var tree *filetree.Writer
		if tree, err = filetree.Create(p, filetree.WriteOptions{Chown: q.Owners}); err == nil {
			defer tree.Close()
			err = filetree.Copy(tree, in.Tree())
		}
	default:
		err = change(root, p, q)
	}
	if err != nil {
		return err
	}
	return out.Frame(last, nil)
}

func report(out *agentproto.Batch, p, name string, follow bool) error {
	var st unix.Stat_t
	var target string
	err := unix.Lstat(p, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		target, _ = os.Readlink(p)
		if follow {
			err = unix.Stat(p, &st)
		}
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: p, Err: err}
	}
	return out.Report(agentproto.FileInfo{
		Name: agentproto.Name(name), Mode: st.Mode, Size: st.Size, MTimeNS: st.Mtim.Nano(), UID: st.Uid, GID: st.Gid,
		Nlink: uint64(st.Nlink), Inode: st.Ino, Target: agentproto.Name(target), //nolint:unconvert // it has 32 bits on arm64
	})
}

func read(out *agentproto.Batch, p string, q agentproto.FileRequest) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return &os.PathError{Op: "read", Path: p, Err: unix.EISDIR}
	}
	if err := report(out, p, "", true); err != nil {
		return err
	}
	length := q.Length
	if length < 0 {
		length = 1 << 40
	}
	return out.Data(io.NewSectionReader(f, q.Offset, length))
}

func write(data *agentproto.DataReader, p string, q agentproto.FileRequest) error {
	flags := os.O_WRONLY
	for flag, want := range map[int]bool{os.O_CREATE: q.Create, os.O_EXCL: q.Exclusive, os.O_TRUNC: q.Truncate, os.O_APPEND: q.Append} {
		if want {
			flags |= flag
		}
	}
	_, missing := os.Lstat(p)
	f, err := os.OpenFile(p, flags, 0o600)
	if err == nil && missing != nil {
		err = unix.Chmod(p, q.Mode)
	}
	if err != nil {
		return err
	}
	_, err = data.WriteTo(f)
	return errors.Join(err, f.Close())
}

func change(root, p string, q agentproto.FileRequest) error {
	switch q.Op {
	case agentproto.FileMkdir:
		if q.Parents {
			return os.MkdirAll(p, fs.FileMode(q.Mode))
		}
		return os.Mkdir(p, fs.FileMode(q.Mode))
	case agentproto.FileRename:
		return os.Rename(p, filepath.Join(root, string(q.To)))
	case agentproto.FileRemove:
		if _, err := os.Lstat(p); err == nil && q.Recursive {
			return os.RemoveAll(p)
		}
		return os.Remove(p)
	case agentproto.FileChmod:
		return unix.Chmod(p, q.Mode)
	case agentproto.FileChown:
		return os.Chown(p, id(q.UID), id(q.GID))
	case agentproto.FileChtimes:
		return os.Chtimes(p, time.Time{}, time.Unix(0, q.MTimeNS))
	case agentproto.FileSymlink:
		return os.Symlink(string(q.To), p)
	}
	return &agentproto.Error{Kind: agentproto.KindInvalid, Message: string(q.Op) + ": is not played here"}
}

func id(n *uint32) int {
	if n == nil {
		return -1
	}
	return int(*n)
}
