// Package rng is the virtio entropy device (virtio 1.2, 5.4): it fills the
// guest's buffers with the host's random bytes.
package rng

import (
	"crypto/rand"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// maxRequest is how many bytes one request gets at most. A driver asks for tens
// of bytes; a hostile one could ask for gigabytes to keep the host busy.
const maxRequest = 64 << 10

// Device is an entropy device. The zero value is ready.
type Device struct {
	q     *queue.Queue
	chain queue.Chain
}

var _ virtio.Device = (*Device)(nil)

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeEntropy }

// Features implements virtio.Device: the device has none (5.4.3).
func (d *Device) Features() uint64 { return 0 }

// SetFeatures implements virtio.Device.
func (d *Device) SetFeatures(uint64) {}

// QueueSizes implements virtio.Device: requestq alone (5.4.2).
func (d *Device) QueueSizes() []uint16 { return []uint16{64} }

// ReadConfig implements virtio.Device: there is no configuration (5.4.4).
func (d *Device) ReadConfig(off uint32, p []byte) { virtio.ReadConfigSpace(nil, off, p) }

// WriteConfig implements virtio.Device.
func (d *Device) WriteConfig(uint32, []byte) {}

// StartQueue implements virtio.Device.
func (d *Device) StartQueue(_ int, q *queue.Queue) { d.q = q }

// StopQueue implements virtio.Device.
func (d *Device) StopQueue(int) { d.q = nil }

// Reset implements virtio.Device.
func (d *Device) Reset() {}

// Kick answers every request in the queue.
func (d *Device) Kick(int) {
	for {
		ok, err := d.q.Pop(&d.chain)
		if err != nil {
			return
		}
		if !ok {
			if d.q.EnableKicks() {
				continue
			}
			return
		}
		d.q.Push(&d.chain, fill(d.chain.Writable))
		d.q.Signal()
	}
}

// fill writes random bytes straight into guest memory and returns how many.
func fill(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		b = b[:min(len(b), maxRequest-n)]
		rand.Read(b) // never fails (crypto/rand)
		n += len(b)
	}
	return n
}
