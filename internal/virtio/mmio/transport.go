// Package mmio carries a virtio device to the guest of our own machine: it is the
// memory-mapped transport of virtio 1.2, section 4.2, version 2.
//
// The guest sees a window of registers. vCPUs hand its accesses to
// [Transport.Read] and [Transport.Write]; through them the driver negotiates
// features, says where its virtqueues are, and starts the device. From then on
// requests bypass the registers: a kick is an eventfd that KVM signals for a
// write to the notify register, an interrupt is an eventfd that KVM listens to,
// and the device works in guest memory from goroutines of its own.
//
// Every register value is the guest's. What makes no sense is ignored where the
// specification leaves it to the driver, and otherwise stops one queue and says
// so in the status (DEVICE_NEEDS_RESET).
package mmio

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestlog"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/eventfd"
)

// Transport is one device in the guest's address space. Its methods may be called
// from any goroutine.
type Transport struct {
	dev virtio.Device
	mem *guestmem.Memory
	log *slog.Logger // limited
	irq int          // eventfd

	// What a device's goroutines touch is outside mu: whoever stops a queue holds
	// mu and waits for them.
	interrupts atomic.Uint32 // InterruptStatus
	needsReset atomic.Bool   // DEVICE_NEEDS_RESET

	mu        sync.Mutex // guards what follows
	registers registers
	queues    []*virtqueue
	paused    bool
	closed    bool
}

// New attaches dev, which nothing else may use any more, to a guest with the
// memory mem. No driver has been there yet. mem stays the caller's and must be
// there until Close has returned. The error is one of making eventfds.
func New(dev virtio.Device, mem *guestmem.Memory, log *slog.Logger) (*Transport, error) {
	t := &Transport{dev: dev, mem: mem, log: guestlog.New(log.With("device", dev.Type().String()))}
	var err error
	if t.irq, err = eventfd.New(); err != nil {
		return nil, fmt.Errorf("virtio-mmio %s: %w", dev.Type(), err)
	}
	for i, most := range dev.QueueSizes() {
		q, err := newVirtqueue(t, i, most)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("virtio-mmio %s: queue %d: %w", dev.Type(), i, err), t.Close())
		}
		t.queues = append(t.queues, q)
	}
	return t, nil
}

// Queues is the number of the device's queues.
func (t *Transport) Queues() int { return len(t.queues) }

// KickFD is the eventfd that notifies queue i, 0 to Queues()-1. A 4-byte write of
// i to the window's [QueueNotify] register is to signal it. It is the
// transport's until Close.
func (t *Transport) KickFD(i int) int { return t.queues[i].kick.FD() }

// InterruptFD is the eventfd that is signalled for an interrupt: an edge. It is
// the transport's until Close.
func (t *Transport) InterruptFD() int { return t.irq }

// Pause takes all queues away from the device and returns when its requests in
// flight have finished. The device is not reset, and the registers work on: a
// reset by the driver takes place, a start has its effect when Resume comes.
func (t *Transport) Pause() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = true
	t.stopQueues()
}

// Resume lets the queues go on where Pause or Load left them.
func (t *Transport) Resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = false
	t.startQueues()
	// An interrupt may have been on its way when the machine was saved. One too
	// many is nothing to a driver, one too few is the end.
	if !t.closed && t.interrupts.Load() != 0 {
		eventfd.Signal(t.irq)
	}
}

// Close stops the queues, resets the device and closes the eventfds. The guest
// may still touch the window: it finds a device that does nothing.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.reset()
	t.closed = true
	for _, q := range t.queues {
		q.kick.Close()
	}
	if err := unix.Close(t.irq); err != nil {
		return fmt.Errorf("virtio-mmio %s: close eventfd: %w", t.dev.Type(), err)
	}
	return nil
}
