package net

import (
	"fmt"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// txBatch is after how many frames the driver is told that it has buffers back, if
// it wants to know.
const txBatch = 32

// transmit hands everything in the transmit queue to the backend.
func (d *Device) transmit() {
	q := d.tx
	for n := 0; ; n++ {
		ok, err := q.Pop(&d.txChain)
		if err != nil {
			return
		}
		if !ok {
			q.Signal()
			if !q.EnableKicks() {
				return
			}
			continue
		}
		if n%txBatch == 0 {
			q.DisableKicks()
			q.Signal()
		}
		if err := d.send(&d.txChain); err != nil {
			q.Fail(err)
			return
		}
		q.Push(&d.txChain, 0)
	}
}

// send hands a chain's frame to the backend, or drops it if it makes no sense. An
// error says that the chain itself is none that a driver may make.
func (d *Device) send(c *queue.Chain) error {
	var raw [headerLen]byte
	if len(c.Writable) > 0 || c.Read(raw[:], 0) < headerLen {
		return fmt.Errorf("a frame to send in %d bytes, with %d bytes for an answer", c.ReadableLen(), c.WritableLen())
	}
	h := parseHeader(&raw)
	d.txParts = skip(d.txParts[:0], c.Readable, headerLen)
	f := netframe.Frame{Parts: d.txParts}
	var err error
	if n := f.Len(); n < netframe.HeaderSize || n > netframe.MaxSize {
		err = fmt.Errorf("its size is %d", n)
	} else {
		f.Offload, err = h.offload(d.features, f.Parts)
	}
	if err != nil {
		d.txDropped.Add(1)
		d.log.Debug("a frame of the guest is dropped", "reason", err)
		return nil
	}
	d.sent.Add(1)
	d.backend.Transmit(f)
	return nil
}

// skip appends to dst what is in parts behind the first n bytes.
func skip(dst, parts [][]byte, n int) [][]byte {
	for _, p := range parts {
		k := min(n, len(p))
		n -= k
		if p = p[k:]; len(p) > 0 {
			dst = append(dst, p)
		}
	}
	return dst
}
