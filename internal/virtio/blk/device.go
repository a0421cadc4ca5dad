// Package blk is the virtio block device (virtio 1.2, 5.2): a disk whose bytes are
// somebody else's affair.
//
// What need not wait for the host's disk is answered on the goroutine that serves
// the queue. Everything else gets a goroutine of its own, up to a limit, so that a
// slow flush holds up no read. Requests may overtake each other, which the
// specification leaves to the driver: a flush covers the writes that were answered
// before it was made available.
package blk

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// Disk is what a Device shows the guest. Its methods are called from many
// goroutines, and only with ranges within Size. Their errors say which disk it is.
type Disk interface {
	// Size is the disk's size in bytes: a multiple of 512 that never changes.
	Size() int64
	// ReadAtv fills bufs, one after the other, from offset off on.
	ReadAtv(bufs [][]byte, off int64) error
	// TryRead is ReadAtv if that is not expected to wait. Otherwise it reports
	// false, and what is in bufs has no meaning.
	TryRead(bufs [][]byte, off int64) (done bool, err error)
	// WriteAtv writes bufs, one after the other, from offset off on.
	WriteAtv(bufs [][]byte, off int64) error
	// TryWrite is WriteAtv if that is not expected to wait. Otherwise it does
	// nothing and reports false.
	TryWrite(bufs [][]byte, off int64) (done bool, err error)
	// Flush returns when what was written is safe from a loss of power.
	Flush() error
	// TryFlush is Flush if that is not expected to wait. Otherwise it does nothing
	// and reports false.
	TryFlush() (done bool, err error)
	// Discard says that nobody needs what is in n bytes from off on.
	Discard(off, n int64) error
	// WriteZeroes makes n bytes from off on zero; with unmap they may give up
	// their space.
	WriteZeroes(off, n int64, unmap bool) error
}

const (
	sectorSize = 512 // bytes: the unit of the protocol, 5.2.4
	serialSize = 20  // bytes, VIRTIO_BLK_ID_BYTES, 5.2.6
	queueSize  = 256 // entries: a 1 MiB request of single pages fits in one chain

	// MaxQueues is the largest number of queues.
	MaxQueues = 16

	// maxInFlight is how many requests of a device are worked on at a time: each
	// may hold a thread of the host.
	maxInFlight = 64
)

// Feature bits, 5.2.3.
const (
	featureSizeMax     uint64 = 1 << 1
	featureSegMax      uint64 = 1 << 2
	featureRO          uint64 = 1 << 5
	featureBlkSize     uint64 = 1 << 6
	featureFlush       uint64 = 1 << 9
	featureTopology    uint64 = 1 << 10
	featureMQ          uint64 = 1 << 12
	featureDiscard     uint64 = 1 << 13
	featureWriteZeroes uint64 = 1 << 14
)

// Options say what a disk looks like to the guest.
type Options struct {
	Serial   string // up to 20 bytes, as /sys/block/vda/serial shows it; may be empty
	ReadOnly bool   // writes are refused
	Queues   int    // 1 to MaxQueues; 0 is 1
}

// Device is one disk.
type Device struct {
	disk     Disk
	opts     Options
	sectors  uint64 // the disk's size
	log      *slog.Logger
	features uint64 // what the driver accepted
	idle     chan *request
	queues   []requestQueue
	counters counters
	pending  atomic.Int32 // requests that are being served
}

// requestQueue is one running queue and its requests in flight.
type requestQueue struct {
	q        *queue.Queue
	inFlight sync.WaitGroup
}

var _ virtio.Device = (*Device)(nil)

// New makes a device for disk, which stays the caller's and must outlive it. Errors
// of the disk are logged to log, no matter how many a guest causes.
func New(disk Disk, opts Options, log *slog.Logger) (*Device, error) {
	if len(opts.Serial) > serialSize {
		return nil, fmt.Errorf("virtio-blk: serial %q: must have up to %d bytes", opts.Serial, serialSize)
	}
	if opts.Queues == 0 {
		opts.Queues = 1
	}
	if opts.Queues < 1 || opts.Queues > MaxQueues {
		return nil, fmt.Errorf("virtio-blk: %d queues: must be 1 to %d", opts.Queues, MaxQueues)
	}
	size := disk.Size()
	if size <= 0 || size%sectorSize != 0 {
		return nil, fmt.Errorf("virtio-blk: a disk of %d bytes: must be a multiple of %d", size, sectorSize)
	}
	d := &Device{
		disk: disk, opts: opts, sectors: uint64(size) / sectorSize,
		log:    guestlog.New(log),
		idle:   make(chan *request, maxInFlight),
		queues: make([]requestQueue, opts.Queues),
	}
	for range maxInFlight {
		d.idle <- newRequest(d)
	}
	return d, nil
}

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeBlock }

// Features implements virtio.Device. A read-only disk cannot be discarded.
// VIRTIO_BLK_F_CONFIG_WCE is not offered: what the guest wants safe it flushes.
func (d *Device) Features() uint64 {
	f := featureSizeMax | featureSegMax | featureBlkSize | featureFlush | featureTopology
	if d.opts.ReadOnly {
		f |= featureRO
	} else {
		f |= featureDiscard | featureWriteZeroes
	}
	if len(d.queues) > 1 {
		f |= featureMQ
	}
	return f
}

// SetFeatures implements virtio.Device.
func (d *Device) SetFeatures(accepted uint64) { d.features = accepted }

// writeThrough reports whether each write must be on the disk before it is
// answered: for a driver that cannot flush (5.2.6.2).
func (d *Device) writeThrough() bool { return d.features&featureFlush == 0 }

// written comes between a write and its answer.
func (d *Device) written() error {
	if d.writeThrough() {
		return d.disk.Flush()
	}
	return nil
}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, len(d.queues))
	for i := range sizes {
		sizes[i] = queueSize
	}
	return sizes
}

// StartQueue implements virtio.Device.
func (d *Device) StartQueue(i int, q *queue.Queue) { d.queues[i].q = q }

// StopQueue waits for the queue's requests in flight.
func (d *Device) StopQueue(i int) {
	d.queues[i].inFlight.Wait()
	d.queues[i].q = nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() { d.features = 0 }
