package vhostuser

import (
	"fmt"
	"log/slog"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// setup is what the front end says about a ring before it runs.
type setup struct {
	size              uint32 // entries
	desc, avail, used uint64 // addresses in the front end's process
	base              uint16 // position in the available ring
}

// ring is one virtqueue as the front end drives it. It belongs to the goroutine
// that serves the connection; only Interrupt and Broken may come from others.
type ring struct {
	index int
	log   *slog.Logger
	call  notifier
	err   notifier

	next     setup           // for the next start; a running ring does not look at it
	baseSet  bool            // next.base is the front end's, not what is left of the last run
	enabled  bool            // SET_VRING_ENABLE, or no protocol features
	kick     *eventfd.Kicker // nil: the ring is stopped
	dead     bool            // broken, until the next SET_VRING_KICK
	ran      bool            // the device has seen this queue since its last Reset
	position uint16          // where the ring stopped

	queue   *queue.Queue // nil while the ring does not run
	current setup        // what it was started with
}

// Interrupt implements queue.Interrupter.
func (r *ring) Interrupt() { r.call.signal() }

// Broken implements queue.Interrupter.
func (r *ring) Broken(err error) {
	r.log.Warn("virtqueue stopped", "queue", r.index, "err", err)
	r.err.signal()
}

// ready reports whether the front end wants the ring to run and it does not.
func (r *ring) ready() bool {
	return r.queue == nil && r.kick != nil && r.enabled && !r.dead
}

// start hands the ring to the device. What is wrong with the addresses or the
// size is the guest's doing: it kills this ring and nothing else.
func (r *ring) start(dev virtio.Device, mem *memTable, features uint64, with setup) {
	q, err := r.resolve(dev, mem, features, with)
	if err != nil {
		r.dead = true
		r.Broken(err)
		return
	}
	r.queue, r.current, r.ran = q, with, true
	dev.StartQueue(r.index, q)
	r.kick.Start(func() { dev.Kick(r.index) })
}

// resolve turns a setup into a queue.
func (r *ring) resolve(dev virtio.Device, mem *memTable, features uint64, with setup) (*queue.Queue, error) {
	cfg, err := virtio.QueueConfig(with.size, dev.QueueSizes()[r.index], features)
	if err != nil {
		return nil, err
	}
	cfg.NextAvail = with.base
	for _, a := range []struct {
		name string
		user uint64
		to   *uint64
	}{{"descriptor table", with.desc, &cfg.Desc}, {"available ring", with.avail, &cfg.Avail}, {"used ring", with.used, &cfg.Used}} {
		if *a.to, err = mem.guestAddr(a.user); err != nil {
			return nil, fmt.Errorf("start virtqueue: %s: %w", a.name, err)
		}
	}
	return queue.New(mem.mem, cfg, r)
}

// stop takes the ring away from the device and notes where it got to.
func (r *ring) stop(dev virtio.Device) {
	if r.queue == nil {
		return
	}
	r.queue.Quiesce(r.kick.Stop)
	dev.StopQueue(r.index)
	r.position = r.queue.NextAvail()
	r.next.base = r.position
	r.dead = r.queue.Err() != nil
	r.queue = nil
}

// setKick takes over fd as the ring's kick descriptor; the ring must be stopped.
func (r *ring) setKick(fd int) error {
	r.dropKick()
	k, err := eventfd.NewKicker(fd)
	if err != nil {
		return err
	}
	r.kick, r.dead = k, false
	return nil
}

// dropKick closes the kick descriptor: a ring without one does not start.
func (r *ring) dropKick() {
	if r.kick != nil {
		r.kick.Close()
		r.kick = nil
	}
}

// close closes every descriptor; the ring must be stopped.
func (r *ring) close() {
	r.dropKick()
	r.call.clear()
	r.err.clear()
}
