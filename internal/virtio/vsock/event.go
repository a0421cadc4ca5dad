package vsock

import (
	"encoding/binary"
	"fmt"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// eventTransportReset is VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, the one event
// (virtio 1.2, 5.10.6.7): the driver ends its connections and reads its context
// ID again.
const eventTransportReset = 0

// eventLen is the size of struct virtio_vsock_event.
const eventLen = 4

// sendEvent tells the driver of the reset that LoadState asks for, once there is a
// buffer for it. Otherwise the event queue stays untouched.
func (d *Device) sendEvent() {
	var chain queue.Chain
	for d.tellReset && d.event != nil {
		ok, err := d.event.Pop(&chain)
		if err != nil {
			d.ringBroke(err)
			return
		}
		if !ok {
			if d.event.EnableKicks() {
				continue
			}
			return
		}
		if n := chain.WritableLen(); n < eventLen {
			err := fmt.Errorf("event buffer of %d bytes", n)
			d.event.Fail(err)
			d.ringBroke(fmt.Errorf("%w: %w", queue.ErrBroken, err))
			return
		}
		chain.Write(binary.LittleEndian.AppendUint32(nil, eventTransportReset), 0)
		d.event.Push(&chain, eventLen)
		d.event.Signal()
		d.event.DisableKicks()
		d.tellReset = false
	}
}
