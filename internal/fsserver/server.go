// Package fsserver serves one host directory as a FUSE file system to a guest
// that is not trusted. It is the file system behind virtio-fs and knows nothing
// of virtio: it takes one FUSE request as byte slices and gives one reply.
//
// # Staying inside the directory
//
// Each file that the guest knows is held as an O_PATH descriptor, never as a
// path that a rename could redirect. A name is always one component, resolved
// by openat2 below the descriptor of its parent, and no symbolic link is ever
// followed on the host: a link is handed to the guest, whose kernel follows it
// in its own tree. Only regular files and directories are opened for input and
// output; device nodes, FIFOs and sockets belong to the guest's kernel, and what
// a /proc of the host somewhere below the directory says stays the host's.
//
// # Owners
//
// Permission bits are the guest kernel's affair (virtio-fs mounts check them
// there); the server acts with its own rights. Run as root, it gives a new file
// to the user who made it in the guest, and chown does what it says: the guest
// can leave set-user-id files and device nodes in the directory, which therefore
// wants to be out of reach of other users of the host. Run as another user,
// owners are squashed: what that user owns is shown as root's, new files are
// that user's whoever makes them, and a file can be given only to root (which
// changes nothing) or to what the host lets the server's user give it to.
//
// # Caching
//
// What the guest writes is in the host's page cache when its write returns.
// The guest may use names and attributes for a second before it asks again, and
// keeps its pages of a file across opens only when the file did not change in
// between. Names that do not exist are not cached.
//
// # Several guests
//
// Any number of servers may serve one directory, also to guests that are copies of one
// another. Each guest is to the others like one more process of the host:
//   - What one writes is read by the others at once, unless they have those pages of the
//     file. They notice that it changed when they open it, or read it and know its
//     attributes for a second already; what they have mapped stays as it is till then.
//   - A name that one makes, changes or removes is so for the others within a second. A
//     file that they have open stays open.
//   - O_EXCL, rename, link and O_APPEND are the host's, and so hold between them; locks do
//     not.
//   - What one changes in mapped pages reaches the host when its kernel writes them, and
//     replaces what another wrote there before. Pages that were still to be written when
//     a guest was copied are written by each of the copies.
//
// A guest's clock stands still while its state is saved: what it may use for a second it
// may still use for the rest of it when it goes on, however much later.
//
// # Left to the guest kernel
//
// File locks and O_DIRECT are the guest's own: locks do not reach processes of
// the host, and O_DIRECT passes the guest's page cache but not the host's.
package fsserver

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/holtvm/holt/internal/guestlog"
)

const (
	// maxWrite bounds the data of one READ or WRITE, in bytes: 256 pages, what
	// Linux guests ask for at most by default.
	maxWrite = 1 << 20

	// maxBackground is how many readahead and asynchronous requests the guest
	// may have in flight; FUSE's default of 12 starves a multi-queue device.
	maxBackground = 64
)

// Options adjusts a Server. The zero value serves read-write and logs nothing.
type Options struct {
	// ReadOnly refuses every change with EROFS, on the host.
	ReadOnly bool

	// Replaced makes LoadState take this directory for that of the session, whichever it
	// was: a copy of it, say, or what a backup brought back. Each file is found by its path
	// alone, if it is of the same kind. Without Replaced each must be the very file that it
	// was.
	Replaced bool

	// Logger receives what a guest causes at debug level and faults of the
	// server itself at error level, both rate-limited. Nil discards.
	Logger *slog.Logger

	// Budget bounds the file descriptors held for the guest. Nil means one of
	// this server's own, as ProcessBudget makes it.
	Budget *Budget
}

// Server serves one directory. Its methods may be called at any time from any
// goroutine.
type Server struct {
	log *slog.Logger
	fs  *fileSystem

	// mu is held for reading while a request runs, for writing by what starts
	// the session over.
	mu       sync.RWMutex
	protocol *fuse.ProtocolServer
	session  *session // nil before INIT
	closed   bool
}

// session is what guest and server agreed on, as they said it.
type session struct {
	init  []byte // struct fuse_init_in
	reply []byte // struct fuse_init_out
}

// Sizes of the two structs since FUSE 7.36; older guests send less.
const (
	maxInit      = 64
	maxInitReply = 64
)

// New opens the directory root. The error wraps the system's: ENOENT, ENOTDIR.
func New(root string, opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	logger := guestlog.New(opts.Logger)
	fs, err := newFileSystem(root, opts, logger)
	if err != nil {
		return nil, fmt.Errorf("share directory %s: %w", root, err)
	}
	s := &Server{log: logger, fs: fs}
	s.restart()
	return s, nil
}

// HandleRequest serves one FUSE request. in holds the parts the guest wrote, out
// the parts for the reply; both may be guest memory. It returns the number of
// bytes written to out: zero for a request without reply.
func (s *Server) HandleRequest(in, out [][]byte) (n int) {
	req, errno := readRequest(in)
	if req == nil {
		s.log.Debug("fuse request without header", "bytes", iovLen(in))
		return 0
	}
	defer req.release()
	defer func() {
		// The file system's own panics are caught closer to them; this one is
		// for the protocol library around it.
		if r := recover(); r != nil {
			s.log.Error("fuse request panicked", "panic", r, "opcode", req.opcode, "stack", string(debug.Stack()))
			n = req.replyError(out, syscall.EIO)
		}
	}()
	if errno != 0 {
		s.log.Debug("fuse request refused", "opcode", req.opcode, "errno", errno)
		return req.replyError(out, errno)
	}
	if req.opcode == opInit || req.opcode == opDestroy {
		s.mu.Lock()
		defer s.mu.Unlock()
	} else {
		s.mu.RLock()
		defer s.mu.RUnlock()
	}
	return s.dispatch(req, out)
}

// dispatch runs a well-formed request. s.mu is held: for writing when the
// request begins or ends a session.
func (s *Server) dispatch(req *request, out [][]byte) int {
	switch {
	case s.closed:
		return req.replyError(out, syscall.ENODEV)
	case req.opcode == opInit:
		return s.begin(req, out)
	case s.session == nil:
		return req.replyError(out, syscall.EIO)
	case s.fs.readOnly && req.op.mutates:
		return req.replyError(out, syscall.EROFS)
	}
	n, status := s.protocol.HandleRequest(req.parts, out)
	switch {
	case req.op.noReply:
		return 0
	case n == 0:
		return req.replyError(out, syscall.Errno(status))
	case req.opcode == opDestroy:
		s.restart()
	}
	return n
}

// begin answers INIT. A driver that was bound anew starts over without a device
// reset.
func (s *Server) begin(req *request, out [][]byte) int {
	s.restart()
	reply := make([]byte, min(iovLen(out), outHeaderSize+maxInitReply))
	n, status := s.protocol.HandleRequest(req.parts, [][]byte{reply})
	if n < outHeaderSize || !status.Ok() {
		return req.replyError(out, syscall.Errno(status))
	}
	init := req.copied[inHeaderSize:]
	s.session = &session{init: bytes.Clone(init[:min(len(init), maxInit)]), reply: reply[outHeaderSize:n]}
	return copyTo(out, reply[:n])
}

// Reset forgets every file and open file and waits for a new INIT, as when the
// guest rebooted or its driver reset the device. It returns when no earlier
// request touches its memory any more.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.restart()
	}
}

// restart goes back to the state before INIT. s.mu is held, or s is new.
func (s *Server) restart() {
	s.fs.reset()
	s.session = nil
	s.protocol = fuse.NewProtocolServer(s.fs, &fuse.MountOptions{
		Logger:               slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		PanicHandler:         s.fs.panicked,
		MaxWrite:             maxWrite,
		MaxBackground:        maxBackground,
		EnableSymlinkCaching: true,
		ExtraCapabilities:    wantedCapabilities,
	})
}

// wantedCapabilities are asked for beyond the protocol library's own choice.
// HANDLE_KILLPRIV_V2 spares the guest a GETXATTR before each write.
const wantedCapabilities = fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_ASYNC_DIO |
	fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_HANDLE_KILLPRIV_V2

// Close ends the session and closes every descriptor. Later requests are
// answered with ENODEV.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.fs.close()
}
