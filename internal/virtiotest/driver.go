// Package virtiotest plays the guest's driver for tests: it lays out virtqueues
// in plain memory, builds descriptor chains (right ones and wrong ones), and
// holds the conformance suite that every transport passes.
//
// It is imported by tests only.
package virtiotest

import (
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// MemorySize is how much guest memory a Driver has unless told otherwise, in
// bytes. It starts at guest address 0.
const MemorySize = 16 << 20

// Options say how a Driver starts a device.
type Options struct {
	Features  uint64 // device-specific bits to accept; ^0 accepts all that are offered
	NoEvent   bool   // leave out EVENT_IDX
	QueueSize uint16 // entries per queue; 0 is the device's own size
	Memory    uint64 // bytes of guest memory; 0 is MemorySize
}

// Driver is a driver with direct access to a device: no transport between.
type Driver struct {
	Mem *guestmem.Memory
	Dev virtio.Device

	t      testing.TB
	opts   Options
	next   uint64
	rings  []*Ring
	queues []*queue.Queue // the latest on each ring
}

// Start resets nothing and starts every queue of dev. The test's end stops them.
func Start(t testing.TB, dev virtio.Device, opts Options) *Driver {
	t.Helper()
	if opts.Memory == 0 {
		opts.Memory = MemorySize
	}
	mem, err := guestmem.Map([]guestmem.Region{{Size: opts.Memory}})
	if err != nil {
		t.Fatal(err)
	}
	d := &Driver{Mem: mem, Dev: dev, t: t, opts: opts}
	d.Restart()
	t.Cleanup(func() {
		d.Stop()
		mem.Close()
	})
	return d
}

// Restart negotiates features and starts every queue on fresh, empty rings.
func (d *Driver) Restart() {
	d.t.Helper()
	d.next, d.rings = 0, nil
	for i, size := range d.Dev.QueueSizes() {
		if d.opts.QueueSize != 0 {
			size = d.opts.QueueSize
		}
		r := NewRing(d.t, d.Mem, d.Alloc(RingBytes(size)), size)
		r.alloc = d.Alloc
		r.kick = func() { d.Dev.Kick(i) }
		d.rings = append(d.rings, r)
	}
	d.queues = make([]*queue.Queue, len(d.rings))
	d.start()
}

// start negotiates features and starts every queue where the last one on its ring
// stopped.
func (d *Driver) start() {
	d.t.Helper()
	d.Dev.SetFeatures(d.Dev.Features() & d.opts.Features)
	for i, r := range d.rings {
		cfg := r.Config(!d.opts.NoEvent)
		if d.queues[i] != nil {
			cfg.NextAvail = d.queues[i].NextAvail()
		}
		q, err := queue.New(d.Mem, cfg, r)
		if err != nil {
			d.t.Fatal(err)
		}
		d.queues[i] = q
		d.Dev.StartQueue(i, q)
	}
}

// Pause stops every queue, as a transport does that is paused. Only Resume may
// follow, and what the driver does with the rings without a kick.
func (d *Driver) Pause() {
	for i := range d.rings {
		d.Dev.StopQueue(i)
	}
}

// Resume goes on after Pause with the same driver and rings, on the same device
// or on one that was loaded with its state.
func (d *Driver) Resume(dev virtio.Device) {
	d.t.Helper()
	if dev != d.Dev {
		d.Dev = dev
	}
	d.start()
}

// Stop stops every queue and resets the device, as a transport does.
func (d *Driver) Stop() {
	for i := range d.rings {
		d.Dev.StopQueue(i)
	}
	if d.rings != nil {
		d.Dev.Reset()
	}
	d.rings = nil
}

// Queue returns the driver's side of queue i.
func (d *Driver) Queue(i int) *Ring { return d.rings[i] }

// Alloc gives n bytes of guest memory, 16-byte aligned; it returns their
// address. Memory is given back by Restart only.
func (d *Driver) Alloc(n int) uint64 {
	d.t.Helper()
	addr := d.next
	d.next += (uint64(n) + 15) &^ 15
	if d.next > d.opts.Memory {
		d.t.Fatalf("virtiotest: the driver's %d bytes of memory are used up", d.opts.Memory)
	}
	return addr
}

// WaitTimeout bounds every wait for a device in tests.
const WaitTimeout = 10 * time.Second
