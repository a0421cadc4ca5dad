package fsserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SaveState encodes the session as a [State]: what INIT agreed on, the files that
// the guest knows and those that it has open. Descriptors cannot be saved, so that
// each file is noted with the path that it has now. It waits for the requests
// that run.
func (s *Server) SaveState() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, err := s.save()
	if err != nil {
		return nil, fmt.Errorf("save the state of a shared directory: %w", err)
	}
	return state, nil
}

func (s *Server) save() ([]byte, error) {
	if s.closed {
		return nil, errors.New("it is closed")
	}
	st := State{Version: stateVersion}
	if s.session != nil {
		st.Init, st.InitReply = s.session.init, s.session.reply
		if err := s.fs.save(&st); err != nil {
			return nil, err
		}
	}
	state, err := json.Marshal(&st)
	if err == nil && len(state) > maxState {
		err = fmt.Errorf("%d bytes, more than %d", len(state), maxState)
	}
	return state, err
}

// save notes the tables, in the order of their numbers. No request runs.
func (fs *fileSystem) save(st *State) error {
	var err error
	if st.Root, _, err = identify(fs.inodes.root.fd); err != nil {
		return err
	}
	above, err := fs.hostPath(fs.inodes.root.fd)
	if err != nil {
		return err
	}
	above = strings.TrimSuffix(above, "/") + "/"
	for _, in := range fs.inodes.byID {
		if in != fs.inodes.root {
			st.Nodes = append(st.Nodes, fs.saveNode(in, above))
		}
	}
	for fh, h := range fs.handles.byID {
		hs := HandleState{ID: fh, Node: h.node, Dir: h.dir, Lost: h.fd == lostFD}
		if !h.dir && !hs.Lost {
			flags, err := unix.FcntlInt(uintptr(h.fd), unix.F_GETFL, 0)
			if err != nil {
				return err
			}
			hs.Flags = flags & reopenFlags
		}
		st.Handles = append(st.Handles, hs)
	}
	st.NextNode, st.NextHandle = fs.inodes.next, fs.handles.next
	slices.SortFunc(st.Nodes, func(a, b NodeState) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(st.Handles, func(a, b HandleState) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// saveNode notes a file. One that cannot be asked who it is, has no name any more or
// was moved elsewhere gets no path, and will be lost.
func (fs *fileSystem) saveNode(in *inode, above string) NodeState {
	n := NodeState{ID: in.id, Lookups: in.lookups}
	var attr *unix.Statx_t
	var err error
	if n.File, attr, err = identify(in.fd); err != nil || attr.Nlink == 0 {
		return n
	}
	if path, err := fs.hostPath(in.fd); err == nil {
		if below, ok := strings.CutPrefix(path, above); ok {
			n.Path = []byte(below)
		}
	}
	return n
}

// hostPath asks the kernel for the path of a descriptor's file. That of a removed
// name ends with " (deleted)", and the file will not be found there.
func (fs *fileSystem) hostPath(fd int) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(fs.procFD, strconv.Itoa(fd), buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
