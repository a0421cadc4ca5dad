// Package console is the virtio console device (virtio 1.2, 5.3) with one port:
// hvc0 in a Linux guest.
package console

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

const (
	receiveq  = 0 // host to guest, 5.3.2
	transmitq = 1 // guest to host

	featureSize = 1 << 0 // VIRTIO_CONSOLE_F_SIZE, 5.3.3
)

// Device is a console. What the guest prints goes to a writer at once, on the
// goroutine that serves the queue: nothing is left behind when the guest dies. A
// writer that blocks holds back the guest, whose kernel waits for each piece with
// its interrupts off. What the host types goes to the guest through Write.
type Device struct {
	out   io.Writer
	tx    *queue.Queue
	chain queue.Chain

	mu     sync.Mutex
	room   *sync.Cond // signalled when input may go on
	rx     *queue.Queue
	rxIn   queue.Chain
	closed bool
	config [12]byte // cols, rows, max_nr_ports, emerg_wr: 5.3.4
}

var (
	_ virtio.Device  = (*Device)(nil)
	_ io.WriteCloser = (*Device)(nil)
)

// New makes a console that prints to out. cols and rows are the terminal's size
// in characters, 0 if unknown.
func New(out io.Writer, cols, rows uint16) *Device {
	d := &Device{out: out}
	d.room = sync.NewCond(&d.mu)
	binary.LittleEndian.PutUint16(d.config[0:], cols)
	binary.LittleEndian.PutUint16(d.config[2:], rows)
	return d
}

// Type implements virtio.Device.
func (d *Device) Type() virtio.DeviceType { return virtio.TypeConsole }

// Features implements virtio.Device.
func (d *Device) Features() uint64 { return featureSize }

// SetFeatures implements virtio.Device.
func (d *Device) SetFeatures(uint64) {}

// QueueSizes implements virtio.Device.
func (d *Device) QueueSizes() []uint16 { return []uint16{64, 64} }

// ReadConfig implements virtio.Device.
func (d *Device) ReadConfig(off uint32, p []byte) { virtio.ReadConfigSpace(d.config[:], off, p) }

// WriteConfig implements virtio.Device: emergency write is not offered.
func (d *Device) WriteConfig(uint32, []byte) {}

// StartQueue implements virtio.Device.
func (d *Device) StartQueue(i int, q *queue.Queue) {
	if i == transmitq {
		d.tx = q
		return
	}
	d.mu.Lock()
	d.rx = q
	d.mu.Unlock()
	d.room.Broadcast()
}

// StopQueue implements virtio.Device.
func (d *Device) StopQueue(i int) {
	if i == transmitq {
		d.tx = nil
		return
	}
	d.mu.Lock()
	d.rx = nil
	d.mu.Unlock()
}

// Reset implements virtio.Device.
func (d *Device) Reset() {}

// Kick implements virtio.Device.
func (d *Device) Kick(i int) {
	if i == transmitq {
		d.print()
		return
	}
	// Taking the lock orders this wake-up after a Write that saw no room.
	d.mu.Lock()
	d.mu.Unlock() //nolint:staticcheck // see above
	d.room.Broadcast()
}
