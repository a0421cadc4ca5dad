package fsserver

import (
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// rootAlias is a second node id of the root, for the server's own use.
const rootAlias = 1 << 63

func canonical(id uint64) uint64 {
	if id == rootAlias {
		return fuse.FUSE_ROOT_ID
	}
	return id
}

// inodeKey identifies a file of the host for as long as a descriptor holds it.
// The mount is part of it: through another bind mount it is another file.
type inodeKey struct {
	ino          uint64
	major, minor uint32
	mount        uint64
}

// inode is a file that the guest knows.
type inode struct {
	id   uint64
	fd   int // O_PATH
	key  inodeKey
	kind uint32 // S_IFMT bits; they never change

	lookups uint64 // what FORGET will give back; guarded by the table

	// refs is one for the table and one for each use. The last one out closes
	// fd, so that a FORGET never closes a descriptor under a running request.
	refs atomic.Int64

	cache cacheMark
}

// inodeTable maps node ids to inodes. Node ids are never used twice.
type inodeTable struct {
	budget *budget

	mu   sync.RWMutex
	byID map[uint64]*inode
	// byKey finds a known file again, so that hard links share a node id.
	byKey map[inodeKey]*inode
	next  uint64
	root  *inode
}

func newInodeTable(rootFD int, b *budget) (*inodeTable, error) {
	st, err := statFD(rootFD)
	if err != nil {
		return nil, err
	}
	t := &inodeTable{
		budget: b,
		byID:   map[uint64]*inode{},
		byKey:  map[inodeKey]*inode{},
		next:   fuse.FUSE_ROOT_ID + 1,
	}
	t.root = &inode{id: fuse.FUSE_ROOT_ID, fd: rootFD, key: keyOf(st), kind: syscall.S_IFDIR}
	t.root.refs.Store(1)
	t.byID[t.root.id], t.byKey[t.root.key] = t.root, t.root
	return t, nil
}

// get returns the inode for use until put, or ESTALE for an id that is unknown.
func (t *inodeTable) get(id uint64) (*inode, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	in, ok := t.byID[canonical(id)]
	if !ok {
		return nil, unix.ESTALE
	}
	in.refs.Add(1)
	return in, nil
}

// getDir is get for an inode that must be a directory.
func (t *inodeTable) getDir(id uint64) (*inode, error) {
	in, err := t.get(id)
	if err != nil {
		return nil, err
	}
	if in.kind != syscall.S_IFDIR {
		t.put(in)
		return nil, unix.ENOTDIR
	}
	return in, nil
}

// put ends a use.
func (t *inodeTable) put(in *inode) {
	if in.refs.Add(-1) == 0 {
		t.budget.close(in.fd)
	}
}

// add counts one lookup of the file that fd holds and takes fd over. It returns
// the inode's node id.
func (t *inodeTable) add(fd int, st *unix.Statx_t) uint64 {
	key := keyOf(st)
	t.mu.Lock()
	in, known := t.byKey[key]
	if !known {
		in = t.enter(t.next, fd, st)
		t.next++
	}
	in.lookups++
	t.mu.Unlock()
	if known {
		t.budget.close(fd)
	}
	return in.id
}

// restore enters a file that a saved session knew and takes fd over. Two files of
// that session may be one by now; a lookup then finds the former.
func (t *inodeTable) restore(id, lookups uint64, fd int, st *unix.Statx_t) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(id, fd, st).lookups = lookups
}

func (t *inodeTable) enter(id uint64, fd int, st *unix.Statx_t) *inode {
	in := &inode{id: id, fd: fd, key: keyOf(st), kind: uint32(st.Mode) & syscall.S_IFMT}
	in.refs.Store(1)
	t.byID[id] = in
	if _, known := t.byKey[in.key]; !known {
		t.byKey[in.key] = in
	}
	return in
}

// again counts one more lookup of an inode in use.
func (t *inodeTable) again(in *inode) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[in.id] != in {
		return unix.ESTALE // forgotten since
	}
	in.lookups++
	return nil
}

// forget takes back n lookups. What the guest claims beyond its count, for
// unknown ids or for the root is ignored.
func (t *inodeTable) forget(id, n uint64) {
	t.mu.Lock()
	in, ok := t.byID[id]
	if !ok || in == t.root {
		t.mu.Unlock()
		return
	}
	in.lookups -= min(n, in.lookups)
	gone := in.lookups == 0
	if gone {
		t.drop(in)
	}
	t.mu.Unlock()
	if gone {
		t.put(in)
	}
}

// reset forgets all but the root.
func (t *inodeTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, in := range t.byID {
		if in != t.root {
			t.drop(in)
			t.put(in)
		}
	}
	t.root.cache.clear()
}

func (t *inodeTable) drop(in *inode) {
	delete(t.byID, in.id)
	if t.byKey[in.key] == in {
		delete(t.byKey, in.key)
	}
}

// size returns the number of inodes, the root among them.
func (t *inodeTable) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}

func keyOf(st *unix.Statx_t) inodeKey {
	return inodeKey{ino: st.Ino, major: st.Dev_major, minor: st.Dev_minor, mount: st.Mnt_id}
}
