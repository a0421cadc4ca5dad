package fsserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// stateVersion is the State that this package writes and reads.
	stateVersion = 1
	// maxState bounds a State in JSON, in bytes: some 600,000 files.
	maxState = 128 << 20
	// maxNumber is the first number that no node or open file has. Numbers are
	// given out one by one, so that none of them gets near it.
	maxNumber = 1 << 62
	// reopenFlags are the open flags of a file that outlive its opening.
	reopenFlags = unix.O_ACCMODE | unix.O_SYNC | unix.O_DSYNC
)

// State is a session as SaveState encodes it, in JSON. Before INIT it has nothing
// but a version.
type State struct {
	Version int `json:"version"` // 1

	// What was agreed on: struct fuse_init_in as the guest sent it and struct
	// fuse_init_out as it was answered, 16 to 64 bytes each.
	Init      []byte `json:"init,omitempty"`
	InitReply []byte `json:"init_reply,omitempty"`

	Root       FileID            `json:"root"`
	Nodes      list[NodeState]   `json:"nodes,omitempty"` // without the root
	NextNode   uint64            `json:"next_node"`       // more than each node's ID
	Handles    list[HandleState] `json:"handles,omitempty"`
	NextHandle uint64            `json:"next_handle"` // more than each handle's ID
}

// FileID tells whether what is found under a path is the file that was there.
type FileID struct {
	Ino   uint64 `json:"ino"`
	Major uint32 `json:"major"` // of the device
	Minor uint32 `json:"minor"`
	Kind  uint32 `json:"kind"` // S_IFMT bits
	// Born is when the file was made, in nanoseconds since 1970, or 0 where the
	// host does not say: file systems use inode numbers again.
	Born int64 `json:"born,omitempty"`
}

// NodeState is a file that the guest knows.
type NodeState struct {
	ID      uint64 `json:"id"`      // 2 or more
	Lookups uint64 `json:"lookups"` // 1 or more
	File    FileID `json:"file"`
	// Path leads from the root to the file, in the bytes that the host uses. It is
	// empty when none does.
	Path []byte `json:"path"`
}

// HandleState is a file that the guest has open. The position in a directory
// comes with each request of the guest.
type HandleState struct {
	ID    uint64 `json:"id"`              // 1 or more
	Node  uint64 `json:"node"`            // node ID
	Dir   bool   `json:"dir,omitempty"`   // opened by OPENDIR
	Flags int    `json:"flags,omitempty"` // access mode, O_SYNC, O_DSYNC
	Lost  bool   `json:"lost,omitempty"`  // was not found again once before
}

// checker is an element that knows what it must be.
type checker interface{ check() error }

// list is an array whose decoding ends at the first bad element: a long array of
// short ones must not take many times its size in memory.
type list[T checker] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *list[T]) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("not an array")
	}
	for d.More() {
		var e T
		if err := d.Decode(&e); err != nil {
			return err
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("element %d: %w", len(*l), err)
		}
		*l = append(*l, e)
	}
	return nil
}

func (n NodeState) check() error {
	switch {
	case n.ID <= fuse.FUSE_ROOT_ID || n.ID >= maxNumber:
		return fmt.Errorf("no node has the number %d", n.ID)
	case n.Lookups == 0:
		return fmt.Errorf("node %d was never looked up", n.ID)
	case len(n.Path) > maxTarget || bytes.IndexByte(n.Path, 0) >= 0:
		return fmt.Errorf("node %d has no possible path", n.ID)
	}
	return nil
}

func (h HandleState) check() error {
	switch {
	case h.ID == 0 || h.ID >= maxNumber:
		return fmt.Errorf("no open file has the number %d", h.ID)
	case h.Flags&^reopenFlags != 0 || h.Flags&unix.O_ACCMODE == unix.O_ACCMODE || h.Dir && h.Flags != 0:
		return fmt.Errorf("open file %d has the flags %#x", h.ID, h.Flags)
	}
	return nil
}

// check is for what the elements alone do not say.
func (st *State) check() error {
	switch {
	case st.Version != stateVersion:
		return fmt.Errorf("version is %d, not %d", st.Version, stateVersion)
	case len(st.Init) > maxInit || len(st.InitReply) > maxInitReply:
		return errors.New("init is too long")
	case len(st.Init) == 0 && len(st.Nodes)+len(st.Handles) > 0:
		return errors.New("files without init")
	case st.NextNode > maxNumber || st.NextHandle > maxNumber:
		return errors.New("the numbers are used up")
	}
	nodes := make(map[uint64]bool, len(st.Nodes))
	for _, n := range st.Nodes {
		if n.ID >= st.NextNode || nodes[n.ID] {
			return fmt.Errorf("node %d is there twice, or before its time", n.ID)
		}
		nodes[n.ID] = true
	}
	handles := make(map[uint64]bool, len(st.Handles))
	for _, h := range st.Handles {
		if h.ID >= st.NextHandle || handles[h.ID] {
			return fmt.Errorf("open file %d is there twice, or before its time", h.ID)
		}
		handles[h.ID] = true
	}
	return nil
}

// identify reads who the file of any descriptor is across sessions, for which
// mounts are numbered anew, and its attributes.
func identify(fd int) (FileID, *unix.Statx_t, error) {
	st, err := statxFD(fd, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID|unix.STATX_BTIME)
	if err != nil {
		return FileID{}, nil, err
	}
	id := FileID{Ino: st.Ino, Major: st.Dev_major, Minor: st.Dev_minor, Kind: uint32(st.Mode) & syscall.S_IFMT}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)).UnixNano()
	}
	return id, st, nil
}

func decodeState(state []byte) (*State, error) {
	if len(state) > maxState {
		return nil, fmt.Errorf("%d bytes, more than %d", len(state), maxState)
	}
	st := new(State)
	if err := json.Unmarshal(state, st); err != nil {
		return nil, err
	}
	return st, st.check()
}
