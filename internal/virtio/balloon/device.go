// Package balloon is the virtio memory balloon (virtio 1.2, 5.5): what the guest
// has no use for goes back to the host.
//
// It does so by free page reporting: of its own accord the guest names blocks of
// free memory, which the host takes away; whenever the guest uses them again it
// finds zeros, or in a machine that goes on from an image of its memory what that has
// there. Either is allowed, because VIRTIO_BALLOON_F_PAGE_POISON is not offered: pages
// are uninitialized to the driver then, whether it reported them (5.5.6.7.1) or put
// them into the balloon (5.5.6.2), and Linux does not report any where its own free
// pages must keep their content. The balloon proper, memory that the guest gives up because the host
// asks for it, is served for drivers that fill it, but its target stays at 0: no
// transport can tell a driver that the configuration changed.
package balloon

import (
	"encoding/binary"
	"log/slog"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// The queues (virtio 1.2, 5.5.2). Those of features that are not offered are not
// counted, so reporting_vq is the third.
const (
	inflateq = iota
	deflateq
	reportingVQ
	queues
)

const (
	featureDeflateOnOOM  = 1 << 2 // VIRTIO_BALLOON_F_DEFLATE_ON_OOM, 5.5.3
	featurePageReporting = 1 << 5 // VIRTIO_BALLOON_F_PAGE_REPORTING

	// queueSize is the entries of each queue. Linux reports up to 32 blocks at
	// once, and wants room for them.
	queueSize = 128
)

// The configuration space (5.5.4): num_pages, then actual, both in pages of
// pageSize. The driver writes actual.
const (
	configActual = 4
	configSize   = 8
)

// Device is a balloon.
type Device struct {
	log    *slog.Logger // limited
	queues [queues]served
	actual uint32 // pages in the balloon, as the driver says
}

// served is a queue and the room to take a chain from it.
type served struct {
	*queue.Queue
	chain queue.Chain
}

var _ virtio.Device = (*Device)(nil)

// New makes a balloon with nothing in it. What a guest can cause to be logged is
// limited.
func New(log *slog.Logger) *Device { return &Device{log: guestlog.New(log)} }

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeBalloon }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return featureDeflateOnOOM | featurePageReporting }

// SetFeatures implements virtio.Device. A driver that does not report pages leaves
// the last queue alone.
func (d *Device) SetFeatures(uint64) {}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize, queueSize} }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, p []byte) {
	var config [configSize]byte
	binary.LittleEndian.PutUint32(config[configActual:], d.actual)
	virtio.ReadConfigSpace(config[:], off, p)
}

// WriteConfig implements virtio.Device: only actual can be written, as a whole.
func (d *Device) WriteConfig(off uint32, p []byte) {
	if off == configActual && len(p) == 4 {
		d.actual = binary.LittleEndian.Uint32(p)
	}
}

// StartQueue implements virtio.Device.
func (d *Device) StartQueue(i int, q *queue.Queue) { d.queues[i].Queue = q }

// StopQueue implements virtio.Device.
func (d *Device) StopQueue(i int) { d.queues[i] = served{} }

// Reset implements virtio.Device.
func (d *Device) Reset() { d.actual = 0 }

// Kick answers every request in queue i.
func (d *Device) Kick(i int) {
	q := &d.queues[i]
	for {
		ok, err := q.Pop(&q.chain)
		if err != nil {
			return
		}
		if !ok {
			if q.EnableKicks() {
				continue
			}
			return
		}
		switch i {
		case inflateq:
			d.inflate(q)
		case deflateq: // the pages are the guest's to use: the host has no part in it
		case reportingVQ:
			d.report(q)
		}
		q.Push(&q.chain, 0)
		q.Signal()
	}
}
