// Package vsock is the virtio socket device (virtio 1.2, 5.10): stream sockets
// between guest programs and this process. Each connection's host side is a
// [Conn] in this process; the host kernel has no part in it.
//
// One mutex guards the device: its rings, the connection table and every
// connection. Data is copied once on each way, between guest memory and the
// reader's buffer of a connection, or from a writer's slice into guest memory, in
// the goroutine that caused it. A connection therefore costs no goroutine and no
// send buffer.
//
// The guest is bounded in everything that it can make the device hold:
// connections, backlogs, received bytes and replies each have a limit, see
// [Option]. A packet that does not belong to the state of its connection ends
// that connection; a broken ring ends all of them.
package vsock

import (
	"encoding/binary"
	"log/slog"
	"sync"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// The device's queues (virtio 1.2, 5.10.2); their names are the driver's view.
const (
	queueRx    = 0 // device to driver
	queueTx    = 1 // driver to device
	queueEvent = 2 // device to driver

	queueSize = 256
)

const featureStream = 1 << 0 // VIRTIO_VSOCK_F_STREAM, 5.10.3

// Device is a vsock device. Its methods may be called from any goroutine.
type Device struct {
	guestCID uint64
	limits   limits

	mu        sync.Mutex // guards what follows, and all connections and listeners
	log       *slog.Logger
	started   bool // a driver has started a queue since the last Reset
	broken    bool // it broke a ring: nothing happens until Reset
	rx, tx    *queue.Queue
	rxChain   queue.Chain
	txChain   queue.Chain
	event     *queue.Queue
	serving   bool      // a goroutine is in serveTx
	txLeft    bool      // it left packets in the ring: leave sees to them
	control   []control // packets without data that wait for receive buffers
	rxWaiters map[*Conn]struct{}
	conns     map[ports]*Conn
	made      uint64 // connections so far
	slots     int    // connections that exist in the table or in a user's hands
	spare     int    // what they left of the budget, bytes
	listeners map[uint32]*Listener
	lastPort  uint32 // host port of the latest Dial

	// Until the driver has done a reset of its connections: see event.go.
	tellReset  bool       // it has not been told to
	awaitSign  bool       // it has not given a sign that it did
	holdDials  bool       // and it is not too late to wait for that
	dialsGo    *sync.Cond // signalled when holdDials ends
	eventsLeft int        // buffers in the event queue behind the one that it was told in
}

var _ virtio.Device = (*Device)(nil)

// New makes a device for a guest whose context ID is guestCID: 3 to 2^32-2
// (virtio 1.2, 5.10.4).
func New(guestCID uint64, log *slog.Logger, opts ...Option) *Device {
	d := &Device{
		guestCID:  guestCID,
		limits:    defaults,
		log:       guestlog.New(log),
		rxWaiters: make(map[*Conn]struct{}),
		conns:     make(map[ports]*Conn),
		listeners: make(map[uint32]*Listener),
		lastPort:  firstEphemeral,
	}
	for _, o := range opts {
		o(&d.limits)
	}
	d.spare = d.limits.budget
	d.dialsGo = sync.NewCond(&d.mu)
	return d
}

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeVsock }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return featureStream }

// SetFeatures implements virtio.Device. Streams work whatever the driver
// accepts: Linux 6.1 does not know the bit (5.10.3).
func (d *Device) SetFeatures(uint64) {}

// QueueSizes implements virtio.Device: rx, tx and event.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize, queueSize} }

// ReadConfig implements virtio.Device: the space is guest_cid (5.10.4).
func (d *Device) ReadConfig(off uint32, p []byte) {
	virtio.ReadConfigSpace(binary.LittleEndian.AppendUint64(nil, d.guestCID), off, p)
}

// WriteConfig implements virtio.Device.
func (d *Device) WriteConfig(uint32, []byte) {}

// StartQueue implements virtio.Device. A queue that goes on after a pause may
// have chains that no Kick will tell of.
func (d *Device) StartQueue(i int, q *queue.Queue) {
	d.mu.Lock()
	if !d.broken {
		d.started = true
		switch i {
		case queueRx:
			d.rx = q
		case queueTx:
			d.tx = q
		case queueEvent:
			d.event = q
		}
	}
	d.mu.Unlock()
	d.Kick(i)
}

// Kick implements virtio.Device.
func (d *Device) Kick(i int) {
	switch i {
	case queueRx:
		d.mu.Lock()
		defer d.leave()
		d.moreRx()
	case queueTx:
		d.serveTx()
	case queueEvent:
		d.mu.Lock()
		defer d.leave()
		d.kickEvent()
	}
}

// StopQueue implements virtio.Device. Connections stay, because a machine that
// is paused stops its queues as one that powers off does; Reset ends them. What
// the guest sent so far is received.
func (d *Device) StopQueue(i int) {
	d.mu.Lock()
	defer d.leave()
	switch i {
	case queueRx:
		d.rx = nil
	case queueTx:
		d.drainTx()
		d.tx = nil
	case queueEvent:
		d.event = nil
	}
}

// Reset implements virtio.Device. It ends every connection with [ErrStopped]:
// what was received can still be read. Listeners stay, for the next driver.
func (d *Device) Reset() {
	d.mu.Lock()
	defer d.leave()
	d.endAll(ErrStopped)
	d.started, d.broken = false, false
	d.rx, d.tx, d.event = nil, nil, nil
}

// leave sends what waits and gives the lock back. Whoever locked mu ends with
// it, except where nothing can have been queued.
func (d *Device) leave() {
	d.flush()
	if d.txLeft && len(d.control) < maxReplies {
		d.txLeft = false
		go d.serveTx() // ends when the ring is empty or taken away
	}
	d.mu.Unlock()
}
