package diskimage

import (
	"sync/atomic"
	"time"
)

// tooLong is what a call takes that waited for the disk: longer than a megabyte
// takes to be copied, and less than the pauses that the kernel imposes on those who
// write faster than the disk.
const tooLong = 2 * time.Millisecond

// tooLongToFlush is what a flush takes that had something to wait for: longer than
// handing it to another goroutine.
const tooLongToFlush = 100 * time.Microsecond

// pace foresees whether calls of one kind will wait. The kernel does not tell of all
// of them, but waiting comes in phases: when the cache is full of what has to be
// written, or while it is being flushed.
type pace struct{ waited atomic.Bool }

// quick reports whether the next call is expected not to wait.
func (p *pace) quick() bool { return !p.waited.Load() }

// time notes how long a call took that began at some time and has ended now, and
// whether that was too long.
func (p *pace) time(begin time.Time, tooLong time.Duration) {
	// A store to what other processors read costs them more than this look.
	if waited := time.Since(begin) > tooLong; waited != p.waited.Load() {
		p.waited.Store(waited)
	}
}

// TryRead is ReadAtv if that is not expected to wait for the disk. Otherwise it
// reports false, and what is in bufs has no meaning.
func (f *File) TryRead(bufs [][]byte, off int64) (done bool, err error) {
	if f.tellsCached {
		return f.readCached(bufs, off), nil
	}
	if !f.reads.quick() {
		return false, nil
	}
	return true, f.ReadAtv(bufs, off)
}

// TryWrite is WriteAtv if that is not expected to wait for the disk. Otherwise it
// does nothing and reports false.
func (f *File) TryWrite(bufs [][]byte, off int64) (done bool, err error) {
	if f.flushing.Load() > 0 || !f.writes.quick() {
		return false, nil
	}
	return true, f.WriteAtv(bufs, off)
}

// TryFlush is Flush if that is not expected to wait for the disk, as where there is
// none. Otherwise it does nothing and reports false.
func (f *File) TryFlush() (done bool, err error) {
	if f.flushing.Load() > 0 || !f.flushes.quick() {
		return false, nil
	}
	return true, f.Flush()
}
