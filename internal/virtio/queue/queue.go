// Package queue is the device's side of a split virtqueue (virtio 1.2, 2.7),
// with indirect descriptors and EVENT_IDX.
//
// A device pops descriptor chains, which arrive as plain byte slices that were
// checked against guest memory, works on them, pushes them back with the number
// of bytes written, and signals. Devices never see a guest address. All ring
// access and all memory barriers are here.
//
// The driver is hostile. Each ring field and each descriptor is read once; the
// ring's own addresses are resolved once, when the queue starts. A driver that
// breaks the protocol breaks this queue only: [Queue.Pop] returns an error that
// wraps [ErrBroken], the transport is told through [Interrupter.Broken], and
// the queue yields nothing until it is started anew.
package queue

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/holtvm/holt/internal/guestmem"
)

// MaxSize is the largest queue size that the specification allows (2.7).
const MaxSize = 32768

// ErrBroken is wrapped by the errors of a queue whose driver broke the
// protocol.
var ErrBroken = errors.New("the driver broke the virtqueue protocol")

// Interrupter is how a queue reaches the driver. Transports implement it, one
// value per queue. Both methods may be called from any goroutine.
type Interrupter interface {
	// Interrupt tells the driver that the used ring moved.
	Interrupt()
	// Broken says that the driver broke the protocol on this queue. It is
	// called once, and the queue is dead from then on.
	Broken(error)
}

// Config is what a driver and its transport agreed on for one queue.
type Config struct {
	Size      uint16 // entries; a power of two, 1 to MaxSize
	Desc      uint64 // guest address of the descriptor table, 16-byte aligned
	Avail     uint64 // guest address of the available ring, 2-byte aligned
	Used      uint64 // guest address of the used ring, 4-byte aligned
	EventIdx  bool   // VIRTIO_F_EVENT_IDX was negotiated
	Indirect  bool   // VIRTIO_F_INDIRECT_DESC was negotiated
	NextAvail uint16 // where to go on in the available ring (0 at first start)
}

// Queue is one running virtqueue. Pop, EnableKicks and DisableKicks belong to
// one goroutine at a time; Push, Signal and Quiesce may be called from any.
type Queue struct {
	mem      *guestmem.Memory
	size     uint16
	eventIdx bool
	indirect bool
	irq      Interrupter

	desc  []byte
	avail ring // flags, idx, size × u16, used_event
	used  ring // flags, idx, size × {u32 id, u32 len}, avail_event

	nextAvail uint16 // consumer's side
	quiet     atomic.Bool

	mu        sync.Mutex // guards what follows
	nextUsed  uint16
	signalled uint16 // nextUsed at the last interrupt decision
	broken    error
}

// New starts a queue at the rings that cfg names. It fails when the size or an
// alignment is not what the specification allows, or when a ring is not inside
// mem.
func New(mem *guestmem.Memory, cfg Config, irq Interrupter) (*Queue, error) {
	if cfg.Size == 0 || cfg.Size > MaxSize || cfg.Size&(cfg.Size-1) != 0 {
		return nil, fmt.Errorf("start virtqueue: size %d is not a power of two from 1 to %d", cfg.Size, MaxSize)
	}
	if cfg.Desc%16 != 0 || cfg.Avail%2 != 0 || cfg.Used%4 != 0 {
		return nil, fmt.Errorf("start virtqueue: rings at %#x, %#x, %#x are not aligned", cfg.Desc, cfg.Avail, cfg.Used)
	}
	q := &Queue{mem: mem, size: cfg.Size, eventIdx: cfg.EventIdx, indirect: cfg.Indirect, irq: irq, nextAvail: cfg.NextAvail}
	n := uint64(cfg.Size)
	desc, err := mem.Slice(cfg.Desc, 16*n)
	if err != nil {
		return nil, fmt.Errorf("start virtqueue: descriptor table: %w", err)
	}
	// The event fields at the ends exist in memory whether negotiated or not
	// (2.7.6, 2.7.8: drivers allocate them), but only then may they be needed.
	event := uint64(0)
	if cfg.EventIdx {
		event = 2
	}
	avail, err := mem.Slice(cfg.Avail, 4+2*n+event)
	if err != nil {
		return nil, fmt.Errorf("start virtqueue: available ring: %w", err)
	}
	used, err := mem.Slice(cfg.Used, 4+8*n+event)
	if err != nil {
		return nil, fmt.Errorf("start virtqueue: used ring: %w", err)
	}
	q.desc, q.avail, q.used = desc, ring(avail), ring(used)
	q.nextUsed = q.used.load16(2)
	q.signalled = q.nextUsed
	return q, nil
}

// Size returns the number of entries.
func (q *Queue) Size() uint16 { return q.size }

// Memory is the guest memory that the rings and all buffers are in. It may be
// used as long as the queue.
func (q *Queue) Memory() *guestmem.Memory { return q.mem }

// NextAvail is the position from which a queue started later goes on, once
// everything popped has been pushed.
func (q *Queue) NextAvail() uint16 { return q.nextAvail }

// Pop takes the next chain that the driver made available into c, reusing c's
// slices. It reports whether there was one. After an error the queue is dead.
func (q *Queue) Pop(c *Chain) (bool, error) {
	if err := q.Err(); err != nil {
		return false, err
	}
	idx := q.avail.load16(2)
	if idx == q.nextAvail || q.quiet.Load() {
		return false, nil
	}
	if n := idx - q.nextAvail; n > q.size {
		return false, q.fail(fmt.Errorf("avail.idx jumped by %d in a queue of %d", n, q.size))
	}
	barrier() // the entry is read after the index that published it
	head := q.avail.load16(4 + 2*int(q.nextAvail%q.size))
	if err := q.walk(head, c); err != nil {
		return false, q.fail(err)
	}
	q.nextAvail++
	return true, nil
}

// Push gives a chain back to the driver, saying that the device wrote the
// first written bytes of its writable part. It does not interrupt: see Signal.
func (q *Queue) Push(c *Chain, written int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken != nil {
		return
	}
	slot := 4 + 8*int(q.nextUsed%q.size)
	q.used.store32(slot, uint32(c.head))
	q.used.store32(slot+4, uint32(written))
	barrier() // the entry is visible before the index that publishes it
	q.nextUsed++
	q.used.store16(2, q.nextUsed)
}

// Signal interrupts the driver if there is something new in the used ring and
// the driver wants to know (2.7.7.2).
func (q *Queue) Signal() {
	q.mu.Lock()
	if q.broken != nil || q.nextUsed == q.signalled {
		q.mu.Unlock()
		return
	}
	barrier() // the index is visible before we look whether anybody waits for it
	var want bool
	if q.eventIdx {
		want = needEvent(q.avail.load16(4+2*int(q.size)), q.nextUsed, q.signalled)
	} else {
		want = q.avail.load16(0)&availNoInterrupt == 0
	}
	q.signalled = q.nextUsed
	q.mu.Unlock()
	if want {
		q.irq.Interrupt()
	}
}

// DisableKicks asks the driver not to notify: the device is looking anyway.
func (q *Queue) DisableKicks() {
	if !q.eventIdx { // with EVENT_IDX an old avail_event does the same
		q.used.store16(0, usedNoNotify)
	}
}

// EnableKicks asks the driver to notify on the next chain. It reports whether
// chains came in meanwhile, which the driver may not have notified about, so
// that the device has to look again.
func (q *Queue) EnableKicks() (more bool) {
	if q.eventIdx {
		q.used.store16(4+8*int(q.size), q.nextAvail)
	} else {
		q.used.store16(0, 0)
	}
	barrier() // the wish is visible before we look for the last time
	return q.Err() == nil && !q.quiet.Load() && q.avail.load16(2) != q.nextAvail
}

// Quiesce calls wait; meanwhile Pop finds nothing. A transport waits in it for
// whoever takes chains to come to an end, which a driver could put off for ever:
// where the rings overlap, even without running, as each answer of the device
// makes the next chain available. Quiesce may be called from any goroutine.
func (q *Queue) Quiesce(wait func()) {
	q.quiet.Store(true)
	defer q.quiet.Store(false)
	wait()
}

// Err returns why the queue is dead, or nil.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.broken
}

// Fail declares the queue dead because of what the driver put into a request;
// devices call it for violations that only they can see.
func (q *Queue) Fail(reason error) { _ = q.fail(reason) }

func (q *Queue) fail(reason error) error {
	err := fmt.Errorf("%w: %w", ErrBroken, reason)
	q.mu.Lock()
	first := q.broken == nil
	if first {
		q.broken = err
	}
	q.mu.Unlock()
	if first {
		q.irq.Broken(err)
	}
	return err
}

// needEvent says whether an index passed event on its way from old to next
// (2.7.7).
func needEvent(event, next, old uint16) bool { return next-event-1 < next-old }

const (
	availNoInterrupt = 1 // VIRTQ_AVAIL_F_NO_INTERRUPT, 2.7.6
	usedNoNotify     = 1 // VIRTQ_USED_F_NO_NOTIFY, 2.7.8
)
