package fsserver

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handle is a file or directory that the guest has open.
type handle struct {
	node uint64 // node id of the inode
	fd   int    // lostFD when a saved session's file was not found again
	dir  bool
	refs atomic.Int64 // as in inode

	// Of a directory: mu is held while it is read, next is the position of fd.
	mu   sync.Mutex
	next uint64
}

// lostFD stands for the descriptor of an open file that is no more.
const lostFD = -1

// handleTable maps FUSE file handles to open files. Numbers are never used
// twice.
type handleTable struct {
	budget *budget

	mu   sync.RWMutex
	byID map[uint64]*handle
	next uint64
}

func newHandleTable(b *budget) *handleTable {
	return &handleTable{budget: b, byID: map[uint64]*handle{}, next: 1}
}

// add takes over fd and returns its number.
func (t *handleTable) add(node uint64, fd int, dir bool) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	fh := t.next
	t.next++
	t.enter(fh, node, fd, dir)
	return fh
}

// restore is add with the number from a saved session.
func (t *handleTable) restore(fh, node uint64, fd int, dir bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(fh, node, fd, dir)
}

func (t *handleTable) enter(fh, node uint64, fd int, dir bool) {
	h := &handle{node: node, fd: fd, dir: dir}
	h.refs.Store(1)
	t.byID[fh] = h
}

// get returns the open file for use until put. The number must belong to the
// node and be of the kind asked for, else the error is EBADF. It is ESTALE when the
// file was lost.
func (t *handleTable) get(fh, node uint64, dir bool) (*handle, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	h, ok := t.byID[fh]
	if !ok || h.node != canonical(node) || h.dir != dir {
		return nil, unix.EBADF
	}
	if h.fd == lostFD {
		return nil, unix.ESTALE
	}
	h.refs.Add(1)
	return h, nil
}

func (t *handleTable) put(h *handle) {
	if h.refs.Add(-1) == 0 && h.fd != lostFD {
		t.budget.close(h.fd)
	}
}

// release closes the open file once nobody uses it.
func (t *handleTable) release(fh, node uint64, dir bool) {
	t.mu.Lock()
	h, ok := t.byID[fh]
	ok = ok && h.node == canonical(node) && h.dir == dir
	if ok {
		delete(t.byID, fh)
	}
	t.mu.Unlock()
	if ok {
		t.put(h)
	}
}

func (t *handleTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for fh, h := range t.byID {
		delete(t.byID, fh)
		t.put(h)
	}
}
