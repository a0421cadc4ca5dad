package blk_test

import (
	"errors"
	"sync"
	"sync/atomic"
)

// slowDisk is a disk of zeros. While it is held, everything that is not tried waits.
type slowDisk struct {
	size    int64
	flushes atomic.Int32
	active  atomic.Int32
	most    atomic.Int32 // active at a time

	mu   sync.RWMutex // held: wait
	fail atomic.Bool
	held atomic.Bool
}

var errDisk = errors.New("disk test: the host's disk is broken")

func newSlowDisk(size int64) *slowDisk { return &slowDisk{size: size} }

func (d *slowDisk) hold()    { d.held.Store(true); d.mu.Lock() }
func (d *slowDisk) release() { d.held.Store(false); d.mu.Unlock() }

// wait is every operation.
func (d *slowDisk) wait() error {
	n := d.active.Add(1)
	defer d.active.Add(-1)
	for most := d.most.Load(); n > most && !d.most.CompareAndSwap(most, n); most = d.most.Load() {
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fail.Load() {
		return errDisk
	}
	return nil
}

func (d *slowDisk) Size() int64 { return d.size }

func (d *slowDisk) ReadAtv([][]byte, int64) error { return d.wait() }

func (d *slowDisk) TryRead([][]byte, int64) (bool, error) { return !d.fail.Load(), nil }

func (d *slowDisk) WriteAtv([][]byte, int64) error { return d.wait() }

func (d *slowDisk) TryWrite([][]byte, int64) (bool, error) {
	if d.held.Load() {
		return false, nil
	}
	return true, d.wait()
}

func (d *slowDisk) TryFlush() (bool, error) {
	if d.held.Load() {
		return false, nil
	}
	return true, d.Flush()
}

func (d *slowDisk) Flush() error {
	d.flushes.Add(1)
	return d.wait()
}

func (d *slowDisk) Discard(int64, int64) error { return d.wait() }

func (d *slowDisk) WriteZeroes(int64, int64, bool) error { return d.wait() }
