// Package fs is the virtio file system device (virtio 1.2, 5.11): it carries
// FUSE requests from the guest's kernel to a file server.
package fs

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// Server answers FUSE requests. Its methods are called from many goroutines.
type Server interface {
	// HandleRequest answers one request. in and out are guest memory, which the
	// guest may change meanwhile. It returns how many bytes of out it wrote; 0
	// is no reply.
	HandleRequest(in, out [][]byte) int
	// Reset forgets everything that the driver did: it is gone.
	Reset()
	// SaveState encodes in JSON what the server knows. No request runs.
	SaveState() ([]byte, error)
	// LoadState takes what SaveState returned, in place of what the server knew.
	// The bytes may be from an untrusted file.
	LoadState(state []byte) error
}

const (
	tagSize   = 36   // bytes of the tag in the configuration space, 5.11.4
	queueSize = 1024 // entries: a 1 MiB request of single pages fits in one chain
	hiprio    = 0    // the queue for FORGET and INTERRUPT, 5.11.2

	// maxInFlight is how many requests of a device have goroutines of their own
	// at a time: each may hold a thread and a megabyte of the host. It is as many
	// background requests as the server lets an honest guest have.
	maxInFlight = 64
)

// Device is one shared directory.
type Device struct {
	server   Server
	slots    chan struct{} // a token for each request with a goroutine
	config   [tagSize + 4]byte
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

// New makes a device with a tag, by which the guest mounts it (1 to 36 bytes),
// and a number of request queues (1 or more).
func New(tag string, requestQueues int, server Server) (*Device, error) {
	if len(tag) < 1 || len(tag) > tagSize {
		return nil, fmt.Errorf("virtio-fs tag %q: must have 1 to %d bytes", tag, tagSize)
	}
	if requestQueues < 1 {
		return nil, fmt.Errorf("virtio-fs %q: %d request queues: must be at least 1", tag, requestQueues)
	}
	d := &Device{server: server, slots: make(chan struct{}, maxInFlight), queues: make([]requestQueue, 1+requestQueues)}
	copy(d.config[:], tag)
	binary.LittleEndian.PutUint32(d.config[tagSize:], uint32(requestQueues))
	return d, nil
}

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeFS }

// Features implements virtio.Device: notifications (5.11.3) are not offered.
func (d *Device) Features() uint64 { return 0 }

// SetFeatures implements virtio.Device.
func (d *Device) SetFeatures(uint64) {}

// QueueSizes implements virtio.Device: hiprio, then the request queues (5.11.2).
func (d *Device) QueueSizes() []uint16 {
	sizes := make([]uint16, len(d.queues))
	for i := range sizes {
		sizes[i] = queueSize
	}
	return sizes
}

// ReadConfig implements virtio.Device (5.11.4).
func (d *Device) ReadConfig(off uint32, p []byte) { virtio.ReadConfigSpace(d.config[:], off, p) }

// WriteConfig implements virtio.Device: nothing is writable.
func (d *Device) WriteConfig(uint32, []byte) {}

// StartQueue implements virtio.Device.
func (d *Device) StartQueue(i int, q *queue.Queue) { d.queues[i].q = q }

// StopQueue waits for the queue's requests in flight.
func (d *Device) StopQueue(i int) {
	d.queues[i].inFlight.Wait()
	d.queues[i].q = nil
}

// Reset implements virtio.Device.
func (d *Device) Reset() { d.server.Reset() }
