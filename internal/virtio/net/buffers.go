package net

import (
	"fmt"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// put copies a frame of n bytes behind its header into as many buffers as it takes.
// The error is errRoom if there are too few for now.
func (d *Device) put(h *header, parts [][]byte, n int) error {
	if err := d.claim(headerLen + n); err != nil {
		return err
	}
	used, room := 0, 0
	for room < headerLen+n {
		room += d.held[used].WritableLen()
		used++
	}
	h.numBuffers = uint16(used)
	var raw [headerLen]byte
	h.encode(&raw)
	to := writer{chains: d.held[:used]}
	to.write(raw[:])
	for _, p := range parts {
		to.write(p)
	}
	d.rx.PushAll(d.held[:used], headerLen+n)
	d.room -= room
	d.drop(used)
	return nil
}

// drop takes the first n chains out of held. Their slices are used again.
func (d *Device) drop(n int) {
	if n == len(d.held) {
		d.held = d.held[:0]
		return
	}
	for i := range d.held[n:] {
		d.held[i], d.held[n+i] = d.held[n+i], d.held[i]
	}
	d.held = d.held[:len(d.held)-n]
}

// claim pops chains until those that are held have n bytes for one frame. If they
// are too few for now, it asks for a kick, and the error is errRoom; any other one
// says that the driver's buffers are too small for the frame.
func (d *Device) claim(n int) error {
	most := 1
	if d.features&featureMrgRxbuf != 0 {
		most = queueSize
		if d.rx != nil {
			most = int(d.rx.Size())
		}
	}
	for d.room < n {
		if len(d.held) == most {
			return fmt.Errorf("%d bytes, for which the guest has a buffer of %d", n, d.room)
		}
		if !d.pop() {
			return errRoom
		}
	}
	return nil
}

// pop holds one more chain. Without one, there will be a kick, unless the queue broke.
func (d *Device) pop() bool {
	if d.rx == nil {
		return false
	}
	n := len(d.held)
	if n == cap(d.held) {
		d.held = append(d.held, queue.Chain{})
	}
	d.held = d.held[:n+1] // its slices may be there from before
	c := &d.held[n]
	for {
		ok, err := d.rx.Pop(c)
		if ok {
			if err = check(c); err != nil {
				d.rx.Fail(err)
			}
		}
		switch {
		case err != nil:
			d.letGo()
			return false
		case ok:
			d.room += c.WritableLen()
			return true
		case !d.rx.EnableKicks():
			d.held = d.held[:n]
			return false
		}
	}
}

// check reports why c is no receive buffer (virtio 1.2, 5.1.6.3.1).
func check(c *queue.Chain) error {
	if n := c.WritableLen(); n < headerLen || len(c.Readable) > 0 {
		return fmt.Errorf("a receive buffer of %d bytes, with %d to read", n, c.ReadableLen())
	}
	return nil
}

// writer fills the writable parts of chains, one behind the other.
type writer struct {
	chains    []queue.Chain
	part, off int // in the first chain
}

// write copies all of p; there must be room.
func (w *writer) write(p []byte) {
	for len(p) > 0 {
		to := w.chains[0].Writable[w.part]
		n := copy(to[w.off:], p)
		p = p[n:]
		if w.off += n; w.off < len(to) {
			continue
		}
		w.off = 0
		if w.part++; w.part == len(w.chains[0].Writable) {
			w.chains, w.part = w.chains[1:], 0
		}
	}
}
