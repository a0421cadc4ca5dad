package vsock

import (
	"fmt"

	"github.com/holtvm/holt/internal/virtio/queue"
)

// control is a packet without data on its way to the guest.
type control struct {
	conn   *Conn  // its credit is stamped when the packet leaves; nil for a bare RST
	packet header // addresses, operation and flags
}

// turn is how much one writer sends before others may have the lock, in bytes.
const turn = 64 << 10

// post queues a control packet of c.
func (d *Device) post(c *Conn, op uint16, flags uint32) {
	if op == opCreditUpdate {
		if c.updating {
			return
		}
		c.updating = true
	}
	h := d.headerFor(c, op)
	h.flags = flags
	d.control = append(d.control, control{c, h})
}

// refuse queues the RST that answers a packet of no connection of ours. An RST
// itself is never answered.
func (d *Device) refuse(h *header) {
	if h.op == opRST {
		return
	}
	d.control = append(d.control, control{packet: header{
		srcCID: h.dstCID, srcPort: h.dstPort, dstCID: h.srcCID, dstPort: h.srcPort,
		typ: h.typ, op: opRST,
	}})
}

func (d *Device) headerFor(c *Conn, op uint16) header {
	return header{
		srcCID: HostCID, srcPort: c.ports.host, dstCID: d.guestCID, dstPort: c.ports.guest,
		typ: typeStream, op: op,
	}
}

// flush sends the control packets for which there are receive buffers.
func (d *Device) flush() {
	if len(d.control) == 0 {
		return
	}
	for len(d.control) > 0 && d.nextRx() {
		p := d.control[0]
		d.control[0] = control{} // so that the connection can be collected
		d.control = d.control[1:]
		if p.conn != nil {
			p.conn.stamp(&p.packet)
		}
		d.push(&p.packet, nil)
	}
	d.signalRx()
}

// sendData sends what the connection's credit and the receive buffers allow of
// p, at most a turn, and returns how much that was. When buffers are what is
// missing, c is woken once there are some.
func (d *Device) sendData(c *Conn, p []byte) int {
	d.flush() // also keeps data behind the RESPONSE of its connection
	sent := 0
	for sent < min(len(p), turn) {
		n := min(len(p)-sent, c.flow.window())
		if n == 0 {
			break
		}
		if len(d.control) > 0 || !d.nextRx() {
			if c.state == open { // it is not, when the ring turned out broken
				d.rxWaiters[c] = struct{}{}
			}
			break
		}
		n = min(n, d.rxChain.WritableLen()-headerLen)
		c.flow.sent += uint32(n)
		h := d.headerFor(c, opRW)
		h.length = uint32(n)
		c.stamp(&h)
		d.push(&h, p[sent:sent+n])
		sent += n
	}
	d.signalRx()
	return sent
}

// signalRx interrupts the driver if something was pushed.
func (d *Device) signalRx() {
	if d.rx != nil { // the ring may have turned out broken
		d.rx.Signal()
	}
}

// push fills rxChain, which has room for a header and some data.
func (d *Device) push(h *header, data []byte) {
	var raw [headerLen]byte
	h.encode(&raw)
	d.rxChain.Write(raw[:], 0)
	d.rxChain.Write(data, headerLen)
	d.rx.Push(&d.rxChain, headerLen+len(data))
}

// nextRx pops the next receive buffer into rxChain. When there is none it asks
// for a kick.
func (d *Device) nextRx() bool {
	if d.rx == nil {
		return false
	}
	for {
		ok, err := d.rx.Pop(&d.rxChain)
		if err != nil {
			d.ringBroke(err)
			return false
		}
		if !ok {
			if d.rx.EnableKicks() {
				continue
			}
			return false
		}
		if n := d.rxChain.WritableLen(); n <= headerLen {
			err := fmt.Errorf("receive buffer of %d bytes", n)
			d.rx.Fail(err)
			d.ringBroke(fmt.Errorf("%w: %w", queue.ErrBroken, err))
			return false
		}
		return true
	}
}

// moreRx serves those who waited for receive buffers.
func (d *Device) moreRx() {
	if d.rx == nil {
		return
	}
	d.rx.DisableKicks() // nobody waits, until nextRx finds the ring empty again
	d.flush()
	for c := range d.rxWaiters {
		c.writable.Broadcast()
	}
	clear(d.rxWaiters)
}
