package agent

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

// file does one operation on the guest's files. Frames that are gathered go out
// before an error does.
func (a *agent) file(ch *channel, spec []byte) error {
	q, err := agentproto.DecodeFileRequest(spec)
	if err != nil {
		return err
	}
	if q.Op == agentproto.FileWatch {
		return watchFiles(ch, q)
	}
	out := agentproto.NewBatch(ch.conn)
	err = serveFile(ch.in, out, q)
	if ferr := out.Flush(); err == nil {
		err = ferr
	}
	if err != nil {
		return fileError(err)
	}
	ch.linger(lingerTimeout)
	return nil
}

// serveFile answers q, but for a FileWatch.
func serveFile(in *agentproto.Reader, out *agentproto.Batch, q agentproto.FileRequest) error {
	var err error
	last := agentproto.TypeOK
	switch q.Op {
	case agentproto.FileStat:
		err = statFile(out, q)
	case agentproto.FileList:
		err = listFiles(out, string(q.Path))
	case agentproto.FileRead:
		err, last = readFile(out, q), agentproto.TypeEnd
	case agentproto.FileWrite:
		err = writeFile(in.Data(), q)
	case agentproto.FilePull:
		err, last = pullFiles(out, q), agentproto.TypeEnd
	case agentproto.FilePush:
		err = pushFiles(in.Tree(), q)
	default:
		err = changeFile(q)
	}
	if err != nil {
		return err
	}
	return out.Frame(last, nil)
}

// pullFiles sends the tree at q.Path.
func pullFiles(out *agentproto.Batch, q agentproto.FileRequest) error {
	tree, err := filetree.Open(string(q.Path), filetree.ReadOptions{Follow: q.Follow})
	if err != nil {
		return err
	}
	defer tree.Close()
	return out.Tree(tree.Next)
}

// pushFiles makes the tree that comes in at q.Path.
func pushFiles(in *agentproto.TreeReader, q agentproto.FileRequest) error {
	if err := makeParents(q); err != nil {
		return err
	}
	tree, err := filetree.Create(string(q.Path), filetree.WriteOptions{Chown: q.Owners, Devices: true})
	if err != nil {
		return err
	}
	defer tree.Close() // after an error what came so far stays
	return filetree.Copy(tree, in)
}

// makeParents makes the directories above q.Path, if q wants that.
func makeParents(q agentproto.FileRequest) error {
	if !q.Parents {
		return nil
	}
	return os.MkdirAll(path.Dir(string(q.Path)), 0o755)
}

// fileError gives err the kind that the protocol has for its errno.
func fileError(err error) error {
	var errno unix.Errno
	var said *agentproto.Error
	if errors.As(err, &said) || !errors.As(err, &errno) {
		return err
	}
	kind := agentproto.KindInternal
	switch errno {
	case unix.ENOENT:
		kind = agentproto.KindNotFound
	case unix.EEXIST:
		kind = agentproto.KindExists
	case unix.EACCES, unix.EPERM:
		kind = agentproto.KindPermission
	case unix.ENOTDIR:
		kind = agentproto.KindNotDir
	case unix.EISDIR:
		kind = agentproto.KindIsDir
	case unix.ENOTEMPTY:
		kind = agentproto.KindNotEmpty
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		kind = agentproto.KindNoSpace
	case unix.EROFS:
		kind = agentproto.KindReadOnly
	case unix.EINVAL, unix.ENAMETOOLONG, unix.ELOOP, unix.EXDEV, unix.ENXIO, unix.ESPIPE:
		kind = agentproto.KindInvalid
	}
	return &agentproto.Error{Kind: kind, Message: err.Error()}
}

// refuse is an error about what a file is.
func refuse(kind agentproto.ErrorKind, format string, args ...any) error {
	return &agentproto.Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}
