package fsserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// LoadState goes on with a session that SaveState noted, in place of the present
// one. state may be from an untrusted file: it can name nothing but files below
// the directory, and no more of them than the Budget allows. After an error the
// server waits for INIT.
//
// Each file is looked for under its path, without following symbolic links, and
// must be the same inode; or one of the same kind, if Options.Replaced. One that is
// not found is lost: requests for it, and for what the guest had open of it, are
// answered with ESTALE; everything else goes on. That is what happens to files that
// were removed, moved or replaced in between, and to those that were open but already
// removed (temporary files without a name among them) when the state was saved.
//
// Open files are opened again with the access that they had, and are neither cut nor
// made. O_APPEND comes with each write and O_DIRECT is the guest's own, as locks are:
// they need nothing. No page that the guest has of a file outlasts its next open.
func (s *Server) LoadState(state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(state); err != nil {
		return fmt.Errorf("load the state of a shared directory: %w", err)
	}
	return nil
}

func (s *Server) load(state []byte) error {
	if s.closed {
		return errors.New("it is closed")
	}
	st, err := decodeState(state)
	if err != nil {
		return err
	}
	s.restart()
	if len(st.Init) == 0 {
		return nil
	}
	if err := s.resume(st); err != nil {
		s.restart()
		return err
	}
	return nil
}

// resume makes the session that st describes.
func (s *Server) resume(st *State) error {
	req, errno := readRequest([][]byte{initRequest(st.Init)})
	defer req.release()
	if errno != 0 {
		return fmt.Errorf("init: %w", errno)
	}
	out := make([]byte, outHeaderSize+maxInitReply)
	s.begin(req, [][]byte{out})
	if s.session == nil || !bytes.Equal(s.session.reply, st.InitReply) {
		return errors.New("this server would not have agreed to the init of that session")
	}
	return s.fs.load(st)
}

func initRequest(args []byte) []byte {
	b := make([]byte, inHeaderSize, inHeaderSize+len(args))
	binary.NativeEndian.PutUint32(b, uint32(inHeaderSize+len(args)))
	binary.NativeEndian.PutUint32(b[4:], opInit)
	return append(b, args...)
}

// load fills the empty tables. No request runs.
func (fs *fileSystem) load(st *State) error {
	root, _, err := identify(fs.inodes.root.fd)
	if err != nil {
		return err
	}
	if root != st.Root && !fs.replaced {
		return errors.New("it is another directory")
	}
	fs.budget.prepare(fs.procFD, len(st.Nodes)+len(st.Handles))
	for i := range st.Nodes {
		if err := fs.loadNode(&st.Nodes[i]); err != nil {
			return fmt.Errorf("node %d: %w", st.Nodes[i].ID, err)
		}
	}
	for i := range st.Handles {
		if err := fs.loadHandle(&st.Handles[i]); err != nil {
			return fmt.Errorf("open file %d: %w", st.Handles[i].ID, err)
		}
	}
	fs.inodes.next = max(st.NextNode, fuse.FUSE_ROOT_ID+1)
	fs.handles.next = max(st.NextHandle, 1)
	return nil
}

// loadNode finds a file again, if it is there; a node that is not in the table is
// ESTALE. An error is a want of this process.
func (fs *fileSystem) loadNode(n *NodeState) error {
	if len(n.Path) == 0 {
		return nil
	}
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := fs.budget.open(func() (int, error) {
		return unix.Openat2(fs.inodes.root.fd, string(n.Path), &how)
	})
	if err != nil {
		return wanting(err)
	}
	if id, st, err := identify(fd); err == nil && fs.same(id, n.File) {
		fs.inodes.restore(n.ID, n.Lookups, fd, st)
		return nil
	}
	fs.budget.close(fd)
	return nil
}

// same reports whether what is under a file's path may be taken for that file.
func (fs *fileSystem) same(is, was FileID) bool {
	if fs.replaced {
		return is.Kind == was.Kind
	}
	return is == was
}

func (fs *fileSystem) loadHandle(h *HandleState) error {
	fd := lostFD
	if node, err := fs.inodes.get(h.Node); err == nil && !h.Lost {
		defer fs.inodes.put(node)
		if fd, err = fs.reopenHandle(node, h); err != nil {
			if err := wanting(err); err != nil {
				return err
			}
			fd = lostFD
		}
	}
	fs.handles.restore(h.ID, canonical(h.Node), fd, h.Dir)
	return nil
}

// reopenHandle opens what Open and OpenDir would open.
func (fs *fileSystem) reopenHandle(node *inode, h *HandleState) (int, error) {
	if h.Dir {
		if node.kind != syscall.S_IFDIR {
			return -1, unix.ENOTDIR
		}
		return fs.openForIO(node.fd, unix.O_RDONLY|unix.O_DIRECTORY)
	}
	if err := checkRegular(node); err != nil {
		return -1, err
	}
	if err := fs.checkProcess(node); err != nil {
		return -1, err
	}
	if fs.readOnly && h.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		return -1, unix.EROFS
	}
	return fs.openForIO(node.fd, h.Flags)
}

// wanting keeps those errors that say nothing about the file.
func wanting(err error) error {
	if err == unix.ENFILE || err == unix.EMFILE || err == unix.ENOMEM {
		return err
	}
	return nil
}
