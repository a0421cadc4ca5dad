// Package net is the virtio network device (virtio 1.2, 5.1) with one pair of
// queues and no control queue: an Ethernet card that is plugged into a [Backend].
//
// Frames are copied once on their way to the guest, from the backend's slices into
// the driver's buffers, and not at all on their way out: the backend is handed guest
// memory. Large segments and unfilled checksums cross in both directions as they
// are. What the driver did not accept of that is made up for in software, on the way
// to the guest, by package netframe.
//
// Both directions are independent of each other: each has its goroutines, and only
// the one to the guest has a lock.
package net

import (
	"encoding/binary"
	"log/slog"
	"sync/atomic"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// The device's queues (virtio 1.2, 5.1.2).
const (
	receiveq  = 0 // to the guest
	transmitq = 1 // from the guest

	// queueSize is enough for both: a frame of 64 KiB takes one entry of the
	// transmit queue, whose driver uses indirect descriptors, and some 17 of the
	// receive queue, where more entries would only tie up more of the guest's
	// memory.
	queueSize = 256
)

// Feature bits (virtio 1.2, 5.1.3).
const (
	featureCsum      uint64 = 1 << 0  // the guest leaves checksums to the device
	featureGuestCsum uint64 = 1 << 1  // and takes frames whose checksums are left to it
	featureMTU       uint64 = 1 << 3  // the configuration says the largest packet
	featureMAC       uint64 = 1 << 5  // and the address
	featureGuestTSO4 uint64 = 1 << 7  // the guest takes large segments
	featureGuestTSO6 uint64 = 1 << 8  //
	featureHostTSO4  uint64 = 1 << 11 // the guest sends large segments
	featureHostTSO6  uint64 = 1 << 12 //
	featureHostECN   uint64 = 1 << 13 // and those with a congestion notice
	featureMrgRxbuf  uint64 = 1 << 15 // a frame may take several receive buffers
	featureStatus    uint64 = 1 << 16 // the configuration says whether the link is up
	featureGuestUSO4 uint64 = 1 << 54 // as TSO, for datagrams
	featureGuestUSO6 uint64 = 1 << 55 //
	featureHostUSO   uint64 = 1 << 56 //

	features = featureCsum | featureGuestCsum | featureMTU | featureMAC |
		featureGuestTSO4 | featureGuestTSO6 | featureHostTSO4 | featureHostTSO6 | featureHostECN |
		featureMrgRxbuf | featureStatus | featureGuestUSO4 | featureGuestUSO6 | featureHostUSO
)

// The configuration space (virtio 1.2, 5.1.4): mac, status, max_virtqueue_pairs, mtu.
const (
	configSize = 12
	statusUp   = 1 // VIRTIO_NET_S_LINK_UP
)

// Backend is the network that the device is plugged into.
type Backend interface {
	// Attach is called once, from New, with how frames get to the guest: receive
	// takes as many of them as there is room for, in order, and returns their
	// number. It may be called from any goroutine and never blocks; it has
	// copied the frames that it took when it returns. It takes none while the
	// guest has no driver or is paused. What the frames carry must be right: the
	// guest is told that it need not check it.
	Attach(receive func(frames []netframe.Frame) int)
	// Transmit is a frame of the guest, from one goroutine at a time. Its parts
	// are guest memory and must not be used after the return. Of what it says,
	// only the offsets have been checked: they are inside the frame, which is at
	// least an Ethernet header and at most netframe.MaxSize.
	Transmit(f netframe.Frame)
	// Room says that the guest may have room again, after receive took less than
	// all. It may call receive.
	Room()
}

// Device is a network card.
type Device struct {
	config  [configSize]byte
	backend Backend
	log     *slog.Logger

	// The way from the guest belongs to the goroutine that serves its queue.
	tx      *queue.Queue
	txChain queue.Chain
	txParts [][]byte

	receiver

	sent, received, txDropped, rxDropped atomic.Uint64
}

var _ virtio.Device = (*Device)(nil)

// New makes a card with the address mac in the network b, where packets have up to
// mtu bytes, 1280 or more for IPv6.
func New(mac [6]byte, mtu uint16, b Backend, log *slog.Logger) *Device {
	d := &Device{backend: b, log: guestlog.New(log)}
	copy(d.config[:], mac[:])
	le := binary.LittleEndian
	le.PutUint16(d.config[6:], statusUp)
	le.PutUint16(d.config[8:], 1)
	le.PutUint16(d.config[10:], mtu)
	b.Attach(d.receive)
	return d
}

// Counters are the numbers of frames since the device was made.
type Counters struct {
	Sent      uint64 // by the guest, to the backend
	Received  uint64 // by the guest; the pieces of one that had to be cut count as one
	TxDropped uint64 // of the guest's: they made no sense
	RxDropped uint64 // of the backend's: the guest's buffers are too small, or they made no sense
}

// Counters returns the numbers of frames so far.
func (d *Device) Counters() Counters {
	return Counters{d.sent.Load(), d.received.Load(), d.txDropped.Load(), d.rxDropped.Load()}
}

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeNet }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return features }

// SetFeatures implements virtio.Device.
func (d *Device) SetFeatures(accepted uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.features = accepted
}

// QueueSizes implements virtio.Device: receiveq1 and transmitq1.
func (d *Device) QueueSizes() []uint16 { return []uint16{queueSize, queueSize} }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, p []byte) { virtio.ReadConfigSpace(d.config[:], off, p) }

// WriteConfig implements virtio.Device: there is nothing that a driver of virtio 1.0
// and later may write.
func (d *Device) WriteConfig(uint32, []byte) {}

// StartQueue implements virtio.Device.
func (d *Device) StartQueue(i int, q *queue.Queue) {
	if i == transmitq {
		d.tx = q
		return
	}
	d.startReceive(q)
}

// Kick implements virtio.Device.
func (d *Device) Kick(i int) {
	if i == transmitq {
		d.transmit()
		return
	}
	if d.moreBuffers() {
		d.backend.Room()
	}
}

// StopQueue implements virtio.Device. A frame of which the guest has got some pieces
// loses the others.
func (d *Device) StopQueue(i int) {
	if i == transmitq {
		d.tx = nil
		return
	}
	d.stopReceive()
}

// Reset implements virtio.Device: what the device knows of a driver it learns again
// before queues start.
func (d *Device) Reset() {}
