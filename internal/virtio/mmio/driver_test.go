package mmio

import (
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtiotest"
)

// driver is a guest's driver with one vCPU: it knows the device by its registers
// and the interrupt line, as Linux's virtio_mmio.c does.
type driver struct {
	*Transport
	t         testing.TB
	mem       *guestmem.Memory
	ioeventfd bool   // kicks go past the registers, as KVM makes them
	used      []bool // an interrupt came that may be for this queue
}

// attach makes a transport for dev, which goes away at the end of the test.
func attach(t testing.TB, dev virtio.Device) *driver {
	t.Helper()
	mem, err := guestmem.Map([]guestmem.Region{{Size: virtiotest.MemorySize}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return attachTo(t, dev, mem)
}

func attachTo(t testing.TB, dev virtio.Device, mem *guestmem.Memory) *driver {
	t.Helper()
	tr, err := New(dev, mem, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return &driver{Transport: tr, t: t, mem: mem, used: make([]bool, tr.Queues())}
}

func (d *driver) get(off uint64) uint32 {
	var b [4]byte
	d.Read(off, b[:])
	return le.Uint32(b[:])
}

func (d *driver) put(off uint64, v uint32) { d.Write(off, le.AppendUint32(nil, v)) }

// Memory implements virtiotest.Transport.
func (d *driver) Memory() *guestmem.Memory { return d.mem }

// Features implements virtiotest.Transport.
func (d *driver) Features() uint64 {
	d.put(regDeviceFeaturesSel, 1)
	high := d.get(regDeviceFeatures)
	d.put(regDeviceFeaturesSel, 0)
	return uint64(high)<<32 | uint64(d.get(regDeviceFeatures))
}

// Accept implements virtiotest.Transport.
func (d *driver) Accept(features uint64) {
	d.t.Helper()
	d.put(regStatus, 1)
	d.put(regStatus, 3)
	d.accept(features)
	d.put(regStatus, 0xb)
	if got := d.get(regStatus); got != 0xb {
		d.t.Fatalf("status %#x after accepting features %#x", got, features)
	}
}

func (d *driver) accept(features uint64) {
	d.put(regDriverFeaturesSel, 1)
	d.put(regDriverFeatures, uint32(features>>32))
	d.put(regDriverFeaturesSel, 0)
	d.put(regDriverFeatures, uint32(features))
}

// ReadConfig implements virtiotest.Transport.
func (d *driver) ReadConfig(off uint32, n int) []byte {
	p := make([]byte, n)
	d.Read(regConfig+uint64(off), p)
	return p
}

// WriteConfig implements virtiotest.Transport.
func (d *driver) WriteConfig(off uint32, p []byte) { d.Write(regConfig+uint64(off), p) }

// SetupQueue implements virtiotest.Transport.
func (d *driver) SetupQueue(i int, size uint16, desc, avail, used uint64) {
	d.put(regQueueSel, uint32(i))
	d.put(regQueueNum, uint32(size))
	for off, addr := range map[uint64]uint64{regQueueDescLow: desc, regQueueDriverLow: avail, regQueueDeviceLow: used} {
		d.put(off, uint32(addr))
		d.put(off+4, uint32(addr>>32))
	}
	d.put(regQueueReady, 1)
}

// Start implements virtiotest.Transport.
func (d *driver) Start() { d.put(regStatus, d.get(regStatus)|statusDriverOK) }

// Kick implements virtiotest.Transport.
func (d *driver) Kick(i int) {
	if d.ioeventfd {
		eventfd.Signal(d.KickFD(i))
	} else {
		d.put(QueueNotify, uint32(i))
	}
}

// Interrupted implements virtiotest.Transport.
func (d *driver) Interrupted(i int, timeout time.Duration) bool {
	return d.handle(timeout, func() bool {
		used := d.used[i]
		d.used[i] = false
		return used
	})
}

// Broken implements virtiotest.Transport.
func (d *driver) Broken(_ int, timeout time.Duration) bool {
	return d.handle(timeout, func() bool { return d.get(regStatus)&statusNeedsReset != 0 })
}

// handle handles interrupts until there is what the caller looks for.
func (d *driver) handle(timeout time.Duration, found func() bool) bool {
	for deadline := time.Now().Add(timeout); ; {
		left := max(time.Until(deadline), 0)
		if signalled(d.InterruptFD(), left) {
			status := d.get(regInterruptStatus)
			d.put(regInterruptACK, status)
			for i := range d.used {
				d.used[i] = d.used[i] || status&interruptUsed != 0
			}
		}
		if found() {
			return true
		}
		if left == 0 {
			return false
		}
	}
}

// signalled waits for an eventfd and clears it.
func signalled(fd int, timeout time.Duration) bool {
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(timeout.Milliseconds()))
	var b [8]byte
	n, _ := unix.Read(fd, b[:])
	return n == 8
}

// Reset implements virtiotest.Transport.
func (d *driver) Reset() { d.put(regStatus, 0) }

var _ virtiotest.Transport = (*driver)(nil)

func TestTransport(t *testing.T) {
	for name, ioeventfd := range map[string]bool{"register": false, "ioeventfd": true} {
		t.Run(name, func(t *testing.T) {
			virtiotest.TransportSuite(t, func(t *testing.T, dev virtio.Device) virtiotest.Transport {
				d := attach(t, dev)
				d.ioeventfd = ioeventfd
				return d
			})
		})
	}
}
