// Package virtio is what devices and transports share: the Device interface,
// device types and feature bits (virtio 1.2).
//
// A device is written once against this package and
// [github.com/holtvm/holt/internal/virtio/queue]. A transport (vhost-user for
// QEMU, virtio-mmio for our own monitor) negotiates features, resolves rings and
// turns notifications into calls of Kick. The device never learns which
// transport carries it.
package virtio

import (
	"fmt"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// DeviceType is a virtio device ID (virtio 1.2, section 5).
type DeviceType uint32

// The devices that Holt has.
const (
	TypeNet     DeviceType = 1
	TypeBlock   DeviceType = 2
	TypeConsole DeviceType = 3
	TypeEntropy DeviceType = 4
	TypeBalloon DeviceType = 5
	TypeVsock   DeviceType = 19
	TypeFS      DeviceType = 26
)

// String is the device's short name, as logs and errors show it.
func (t DeviceType) String() string {
	switch t {
	case TypeNet:
		return "net"
	case TypeBlock:
		return "blk"
	case TypeBalloon:
		return "balloon"
	case TypeConsole:
		return "console"
	case TypeEntropy:
		return "rng"
	case TypeVsock:
		return "vsock"
	case TypeFS:
		return "fs"
	}
	return "unknown"
}

// Feature bits that concern the ring or the transport (virtio 1.2, section 6).
// Transports offer them for every device; devices do not list them.
const (
	FeatureIndirectDesc uint64 = 1 << 28
	FeatureEventIdx     uint64 = 1 << 29
	FeatureVersion1     uint64 = 1 << 32

	TransportFeatures = FeatureIndirectDesc | FeatureEventIdx | FeatureVersion1
)

// QueueConfig begins the configuration of a queue that a driver with these features
// set up with size entries, of which the device takes at most most. Where its rings
// are, the transport knows.
func QueueConfig(size uint32, most uint16, features uint64) (queue.Config, error) {
	if size > uint32(most) {
		return queue.Config{}, fmt.Errorf("start virtqueue: size %d is more than the device's %d", size, most)
	}
	return queue.Config{
		Size:     uint16(size),
		EventIdx: features&FeatureEventIdx != 0,
		Indirect: features&FeatureIndirectDesc != 0,
	}, nil
}

// Device is one virtio device. A transport calls the methods from one goroutine
// at a time per queue; a device guards what its queues share.
//
// The life of a queue is StartQueue, any number of Kick, StopQueue. Features and
// the memory behind the queues stay as they are between the first StartQueue and
// the last StopQueue.
type Device interface {
	// Type is the device's ID.
	Type() DeviceType
	// Features are the device-specific feature bits offered to the driver.
	Features() uint64
	// SetFeatures tells which of the offered bits the driver accepted. It comes
	// before any StartQueue.
	SetFeatures(accepted uint64)
	// QueueSizes gives each queue's largest size; its length is their number.
	QueueSizes() []uint16
	// ReadConfig copies the device's configuration space from off on into p;
	// what lies beyond the space reads as zero. off is the driver's: any value.
	ReadConfig(off uint32, p []byte)
	// WriteConfig is a driver's write to the configuration space. Writes that
	// the device does not define are ignored.
	WriteConfig(off uint32, p []byte)
	// StartQueue hands queue i to the device, which may use it until StopQueue.
	StartQueue(i int, q *queue.Queue)
	// Kick says that the driver may have made chains available on queue i.
	Kick(i int)
	// StopQueue returns when the device no longer touches queue i or any
	// memory that it got from it. Requests in flight are finished or dropped.
	StopQueue(i int)
	// Reset brings the device to its state before any driver. Queues are
	// stopped by then.
	Reset()
	// SaveState encodes what the device knows beside its queues, whose
	// positions are the transport's. No queue runs meanwhile.
	SaveState() ([]byte, error)
	// LoadState takes what SaveState of the same type of device returned, in
	// place of what the device knew. It comes before any StartQueue; the bytes
	// may be from an untrusted file.
	LoadState(state []byte) error
}

// ReadConfigSpace is the common body of ReadConfig: it copies from a device's
// whole configuration space and fills with zeros what is beyond.
func ReadConfigSpace(space []byte, off uint32, p []byte) {
	clear(p)
	if uint64(off) < uint64(len(space)) {
		copy(p, space[off:])
	}
}
