package holt

import (
	"context"
	"iter"
	"net"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// FileOp says what happened to a file.
type FileOp string

// What can happen to a file.
const (
	FileReady    FileOp = "ready"    // the first event: from now on changes are seen
	FileCreate   FileOp = "create"   // the name appeared, made or renamed to
	FileWrite    FileOp = "write"    // the content changed
	FileChmod    FileOp = "chmod"    // mode, owner, times or links changed
	FileRemove   FileOp = "remove"   // the name was removed
	FileRename   FileOp = "rename"   // the file has another name now
	FileOverflow FileOp = "overflow" // events were lost: there were too many
)

// FileEvent is something that happened to a file in the guest.
type FileEvent struct {
	Path string // absolute; any bytes
	Op   FileOp
}

// Watch gives what happens to a file of the guest or, if it is a directory, to what is
// in it; recursive, to what is below it, in up to 8,192 directories of its file system.
// What programs in the guest do is seen, and what is done through [VM.FS]; what the host
// does in a shared directory is not. In a directory that appears a file may be reported
// as made twice. The sequence ends after an error; that of ctx is one. Each use of it is
// a watch of its own.
func (vm *VM) Watch(ctx context.Context, name string, recursive bool) iter.Seq2[FileEvent, error] {
	f, p := vm.FS().WithContext(ctx), inGuest(name)
	q := agentproto.FileRequest{Path: agentproto.Name(p), Recursive: recursive}
	return sequence(func(each func(FileEvent) error) error {
		return f.ask("watch", name, p, func(conn net.Conn) error {
			return agentclient.Watch(ctx, conn, q, func(e agentproto.WatchEvent) error {
				return each(FileEvent{string(e.Path), FileOp(e.Op)})
			})
		})
	})
}
