package mmio

import (
	"math"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// virtqueue is one queue of the device. The transport's mutex guards it; only
// Interrupt and Broken come from elsewhere.
type virtqueue struct {
	t     *Transport
	index int
	most  uint16 // entries, QueueNumMax
	kick  *eventfd.Kicker

	regs   QueueState   // registers, and what is remembered while it does not run
	queue  *queue.Queue // nil while it does not run
	handed bool         // the device has it; kick's goroutine's while that runs
}

func newVirtqueue(t *Transport, index int, most uint16) (*virtqueue, error) {
	fd, err := eventfd.New()
	if err != nil {
		return nil, err
	}
	kick, err := eventfd.NewKicker(fd)
	if err != nil {
		return nil, err
	}
	return &virtqueue{t: t, index: index, most: most, kick: kick}, nil
}

// Interrupt implements queue.Interrupter.
func (q *virtqueue) Interrupt() { q.t.interrupt(interruptUsed) }

// Broken implements queue.Interrupter: it tells the driver that it must reset the
// device (virtio 1.2, 2.1.2). Other queues go on.
func (q *virtqueue) Broken(err error) {
	q.t.log.Warn("virtqueue stopped", "queue", q.index, "err", err)
	q.t.needsReset.Store(true)
	q.t.interrupt(interruptConfig)
}

// notify is a kick that came as a register write.
func (q *virtqueue) notify() { eventfd.Signal(q.kick.FD()) }

// setRegister is a driver's write to a register of this queue. While the queue is
// ready, only QueueReady counts.
func (q *virtqueue) setRegister(off uint64, v uint32) {
	if off == regQueueReady {
		q.setReady(v)
		return
	}
	if q.regs.Ready {
		return
	}
	switch off {
	case regQueueNum:
		q.regs.Size = v
	case regQueueDescLow:
		setLow(&q.regs.Desc, v)
	case regQueueDescHigh:
		setHigh(&q.regs.Desc, v)
	case regQueueDriverLow:
		setLow(&q.regs.Driver, v)
	case regQueueDriverHigh:
		setHigh(&q.regs.Driver, v)
	case regQueueDeviceLow:
		setLow(&q.regs.Device, v)
	case regQueueDeviceHigh:
		setHigh(&q.regs.Device, v)
	}
}

func setLow(addr *uint64, v uint32)  { *addr = *addr&^math.MaxUint32 | uint64(v) }
func setHigh(addr *uint64, v uint32) { *addr = *addr&math.MaxUint32 | uint64(v)<<32 }

// setReady is a write to QueueReady. A queue that was taken away starts anew: its
// registers may name other rings by then.
func (q *virtqueue) setReady(v uint32) {
	switch v {
	case 0:
		q.stop()
		q.regs.Ready, q.regs.Broken, q.regs.NextAvail = false, false, 0
	case 1:
		q.regs.Ready = true
		if q.t.running() {
			q.start()
		}
	}
}

// start hands the queue to the device, if it is ready and does not run. What is
// wrong with its registers is the driver's doing, and its queue's end.
func (q *virtqueue) start() {
	if q.queue != nil || !q.regs.Ready || q.regs.Broken {
		return
	}
	started, err := q.resolve()
	if err != nil {
		q.regs.Broken = true
		q.Broken(err)
		return
	}
	q.queue = started
	// A device may serve what it finds at once, which a driver can make last. That
	// must not hold up the vCPU that started the device, or the lock.
	q.kick.Start(func() {
		if !q.handed {
			q.t.dev.StartQueue(q.index, started)
			q.handed = true
		}
		q.t.dev.Kick(q.index)
	})
}

// resolve turns the registers into a queue.
func (q *virtqueue) resolve() (*queue.Queue, error) {
	cfg, err := virtio.QueueConfig(q.regs.Size, q.most, q.t.registers.driverFeatures)
	if err != nil {
		return nil, err
	}
	cfg.Desc, cfg.Avail, cfg.Used = q.regs.Desc, q.regs.Driver, q.regs.Device
	cfg.NextAvail = q.regs.NextAvail
	return queue.New(q.t.mem, cfg, q)
}

// stop takes the queue away from the device, whose requests in flight it waits
// for, and notes where it got to.
func (q *virtqueue) stop() {
	if q.queue == nil {
		return
	}
	q.queue.Quiesce(q.kick.Stop)
	if q.handed {
		q.t.dev.StopQueue(q.index)
		q.handed = false
	}
	q.regs.NextAvail, q.regs.Broken = q.queue.NextAvail(), q.queue.Err() != nil
	q.queue = nil
}

// startQueues starts what is to run and does not.
func (t *Transport) startQueues() {
	if !t.running() {
		return
	}
	for _, q := range t.queues {
		q.start()
	}
}

// stopQueues stops every queue.
func (t *Transport) stopQueues() {
	for _, q := range t.queues {
		q.stop()
	}
}
