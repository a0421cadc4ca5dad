package net

import (
	"errors"
	"fmt"
	"sync"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// receiver is the way to the guest.
type receiver struct {
	mu       sync.Mutex // guards what follows
	features uint64     // the driver's; they stay while a queue runs
	rx       *queue.Queue
	// held are chains that were popped and wait for a frame that fits, and room is
	// how much that may have, headers included.
	held []queue.Chain
	room int // bytes
	// starved says that receive took less than all since the backend last heard of
	// room.
	starved bool
	// What is left of a frame that is cut for a driver that does not take large
	// segments: the piece that had no room, or nil, and those behind it.
	piece  []byte
	pieces netframe.Pieces
	buffer []byte // for frames that are finished here
}

// startReceive begins to take buffers from q.
func (r *receiver) startReceive(q *queue.Queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rx = q
	q.DisableKicks() // nobody waits for room yet
}

// stopReceive returns when no buffer is in use. Those that are held stay available.
func (r *receiver) stopReceive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rx != nil {
		r.rx.Unpop(len(r.held))
	}
	r.letGo()
}

// letGo forgets the queue.
func (r *receiver) letGo() { r.rx, r.held, r.room, r.piece = nil, r.held[:0], 0, nil }

// receive is what the backend got from Attach.
func (d *Device) receive(frames []netframe.Frame) (taken int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for taken < len(frames) && d.rest() && d.deliver(frames[taken]) {
		taken++
	}
	if d.rx != nil {
		d.rx.Signal()
	}
	if taken < len(frames) {
		d.starved = true
	}
	return taken
}

// moreBuffers uses new buffers for what was begun. It reports whether the backend
// must hear of them, too.
func (d *Device) moreBuffers() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rx == nil {
		return false
	}
	d.rx.DisableKicks()
	room := d.rest()
	if d.rx != nil {
		d.rx.Signal()
	}
	if !d.starved || !room {
		return false
	}
	d.starved = false
	return true
}

// errRoom says that a frame must wait for buffers. A kick will come with them.
var errRoom = errors.New("no room")

// deliver puts one frame into the guest's buffers, or drops it if that can not be.
// It reports whether it is done with the frame.
func (d *Device) deliver(f netframe.Frame) bool {
	h, finish := d.headerFor(&f)
	n := f.Len()
	var err error
	switch {
	case n < netframe.HeaderSize || n > netframe.MaxSize:
		err = fmt.Errorf("its size is %d", n)
	case !finish:
		err = d.put(&h, f.Parts, n)
	default:
		if err = d.claim(headerLen); err == nil { // not in vain for now
			err = d.finish(f)
		}
	}
	return d.done(err)
}

// done counts a frame, unless it has to wait.
func (d *Device) done(err error) bool {
	switch {
	case err == nil:
		d.received.Add(1)
	case errors.Is(err, errRoom):
		return false
	default:
		d.rxDropped.Add(1)
		d.log.Debug("a frame for the guest is dropped", "reason", err)
	}
	return true
}

// headerFor says what the guest must know of f, and whether more than this is left
// to do than the guest accepted to.
func (d *Device) headerFor(f *netframe.Frame) (h header, finish bool) {
	o := &f.Offload
	switch accepted := d.features&featureGuestCsum != 0; {
	case !o.NeedsChecksum && o.Segment == netframe.NoSegments:
		if accepted {
			h.flags = flagDataValid
		}
		return h, false
	case !accepted || !o.NeedsChecksum: // the latter makes no sense, as will turn out
		return h, true
	}
	h.flags, h.csumStart, h.csumOffset = flagNeedsCsum, o.ChecksumStart, o.ChecksumOffset
	var needs uint64
	switch o.Segment {
	case netframe.NoSegments:
		return h, false
	case netframe.TCP4:
		h.gsoType, needs = gsoTCPv4, featureGuestTSO4
	case netframe.TCP6:
		h.gsoType, needs = gsoTCPv6, featureGuestTSO6
	case netframe.UDP:
		h.gsoType, needs = gsoUDPL4, featureGuestUSO4|featureGuestUSO6
	}
	h.gsoSize, h.hdrLen = o.SegmentSize, o.HeaderLen
	return h, d.features&needs != needs || needs == 0
}

// finish does what f says is left to do, and begins to deliver the result.
func (d *Device) finish(f netframe.Frame) (err error) {
	d.buffer = f.Append(d.buffer[:0])
	if f.Segment == netframe.NoSegments {
		if err := netframe.Checksum(d.buffer, f.Offload); err != nil {
			return err
		}
		h := d.ready()
		return d.put(&h, [][]byte{d.buffer}, len(d.buffer))
	}
	if d.pieces, err = netframe.Segment(d.buffer, f.Offload); err != nil {
		return err
	}
	d.piece = d.pieces.Next()
	d.rest()
	return nil
}

// rest delivers what is left of a frame that was cut, and reports whether all of it
// had room. A piece that cannot have any is lost, like one on any wire.
func (d *Device) rest() bool {
	for d.piece != nil {
		h := d.ready()
		err := d.put(&h, [][]byte{d.piece}, len(d.piece))
		if errors.Is(err, errRoom) {
			return false
		}
		if err != nil {
			d.rxDropped.Add(1)
		}
		if d.piece != nil { // the queue may have broken
			d.piece = d.pieces.Next()
		}
	}
	return true
}

// ready is the header of a frame with nothing left to do.
func (d *Device) ready() header {
	h, _ := d.headerFor(&netframe.Frame{})
	return h
}
