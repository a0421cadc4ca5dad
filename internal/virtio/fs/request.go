package fs

import (
	"encoding/binary"
	"sync"

	"github.com/holtvm/holt/internal/virtio/queue"
)

var chains = sync.Pool{New: func() any { return new(queue.Chain) }}

// Kick serves all requests of a queue. A lone quick request is served here, on
// the goroutine that is awake already; others get goroutines of their own, so
// that a slow one holds up nobody, up to maxInFlight; then the queue waits. Those
// of hiprio are quick and have no answer: they wait for no others.
func (d *Device) Kick(i int) {
	rq := &d.queues[i]
	var last *queue.Chain
	rq.q.DisableKicks()
	for {
		c := chains.Get().(*queue.Chain)
		ok, err := rq.q.Pop(c)
		if err != nil {
			return
		}
		if ok {
			switch {
			case i == hiprio:
				d.serve(rq.q, c)
				continue
			case last != nil:
				d.spawn(rq, last)
			}
			if last = c; slow(c) {
				d.spawn(rq, c)
				last = nil
			}
			continue
		}
		chains.Put(c)
		if last != nil {
			d.serve(rq.q, last)
			last = nil
			continue
		}
		if !rq.q.EnableKicks() {
			return
		}
		rq.q.DisableKicks()
	}
}

func (d *Device) spawn(rq *requestQueue, c *queue.Chain) {
	d.slots <- struct{}{}
	rq.inFlight.Go(func() {
		defer func() { <-d.slots }()
		d.serve(rq.q, c)
	})
}

func (d *Device) serve(q *queue.Queue, c *queue.Chain) {
	d.pending.Add(1)
	n := d.server.HandleRequest(c.Readable, c.Writable)
	d.pending.Add(-1)
	d.counters.count(c.ReadableLen(), n)
	q.Push(c, n)
	q.Signal()
	chains.Put(c)
}

// FUSE operations that may wait for the disk for long (linux/fuse.h).
const (
	opFsync         = 20
	opSetlkw        = 33
	opFsyncdir      = 30
	opFallocate     = 43
	opCopyFileRange = 47
	opSyncfs        = 50
)

// slow says whether a request may take so long that others must not wait behind
// it. The guest may lie; then it waits for itself.
func slow(c *queue.Chain) bool {
	var header [8]byte // len, opcode
	c.Read(header[:], 0)
	switch binary.LittleEndian.Uint32(header[4:]) {
	case opFsync, opFsyncdir, opSetlkw, opFallocate, opCopyFileRange, opSyncfs:
		return true
	}
	return false
}
