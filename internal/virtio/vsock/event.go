package vsock

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// eventTransportReset is VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, the one event
// (virtio 1.2, 5.10.6.7): the driver ends its connections and reads its context
// ID again.
const eventTransportReset = 0

// eventLen is the size of struct virtio_vsock_event.
const eventLen = 4

// A guest that goes on elsewhere has connections that are no more. Until its driver has
// dealt with that, it would take a new connection for one of them and reset it. Dials
// therefore wait for a sign of the driver's: that it has offered a buffer since it was
// told. Linux gives the event's buffer back when it has reset its sockets; the context
// ID it reads before, which would be too early a sign.

// kickEvent serves the event queue: it tells the driver of the reset that LoadState
// asks for, once there is a buffer for it, and looks for the sign. Otherwise the queue
// stays untouched.
func (d *Device) kickEvent() {
	if d.event == nil || d.tellReset && !d.sendReset() {
		return
	}
	if d.awaitSign && d.countEvents(d.eventsLeft+1) > d.eventsLeft {
		d.resetDone()
	}
}

// sendReset tells the driver to reset, and reports whether it could.
func (d *Device) sendReset() bool {
	var chain queue.Chain
	for {
		ok, err := d.event.Pop(&chain)
		switch {
		case err != nil:
			d.ringBroke(err)
			return false
		case !ok && d.event.EnableKicks():
			continue
		case !ok:
			return false
		}
		break
	}
	if n := chain.WritableLen(); n < eventLen {
		err := fmt.Errorf("event buffer of %d bytes", n)
		d.event.Fail(err)
		d.ringBroke(fmt.Errorf("%w: %w", queue.ErrBroken, err))
		return false
	}
	// Counted before: the driver is quick.
	d.tellReset, d.eventsLeft = false, d.countEvents(int(d.event.Size()))
	chain.Write(binary.LittleEndian.AppendUint32(nil, eventTransportReset), 0)
	if d.event == nil { // the ring turned out broken
		return false
	}
	d.event.Push(&chain, eventLen)
	d.event.Signal()
	return true
}

// countEvents counts the buffers that the driver offers, up to most, and asks for a kick
// with the next one. They stay available.
func (d *Device) countEvents(most int) (n int) {
	var chain queue.Chain
	for n < most {
		ok, err := d.event.Pop(&chain)
		switch {
		case err != nil:
			d.ringBroke(err)
			return 0
		case ok:
			n++
		case !d.event.EnableKicks():
			most = n
		}
	}
	d.event.Unpop(n)
	return n
}

// resetDone lets the dials go that waited for the driver to reset its connections. It
// asks after those that were made meanwhile, by the guest or by dials that waited for too
// long: if they were among them, the guest did not say so, and answers with an RST only
// now.
func (d *Device) resetDone() {
	d.awaitSign = false
	d.letDialsGo()
	for _, c := range d.conns {
		d.post(c, opCreditRequest, 0)
	}
	if d.event != nil {
		d.event.DisableKicks()
	}
}

func (d *Device) letDialsGo() {
	d.holdDials = false
	d.dialsGo.Broadcast()
}

// awaitReset waits until a Dial need not be held back any more, or ctx ends. A driver
// that gives no sign for long is not waited for: it may never give one. If it was only
// slow, what resetDone asks comes later.
func (d *Device) awaitReset(ctx context.Context) {
	if !d.holdDials {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.dialsGo.Broadcast()
	})
	defer stop()
	patience := time.AfterFunc(d.limits.patience, func() {
		d.mu.Lock()
		defer d.leave()
		d.letDialsGo()
	})
	defer patience.Stop()
	for d.holdDials && ctx.Err() == nil {
		d.dialsGo.Wait()
	}
}
