package vsock

import (
	"fmt"

	"github.com/holtvm/holt/internal/virtio/queue"
)

const (
	// txBatch is how many packets are taken before the driver is told and others
	// may have the lock.
	txBatch = 32
	// txTurn is how many batches one Kick may last: a guest that never stops
	// sending must not keep the transport from stopping the queue.
	txTurn = 64
)

// serveTx takes packets from the guest until the ring is empty, or until so many
// replies wait that the guest must first make room for them. One goroutine at a
// time does that; another one's chains are found by it.
func (d *Device) serveTx() {
	d.mu.Lock()
	defer d.leave()
	if d.serving {
		return
	}
	d.serving = true
	defer func() { d.serving = false }()
	for range txTurn {
		if d.tx == nil {
			return
		}
		d.tx.DisableKicks()
		n := d.takeTx(txBatch)
		if d.tx != nil {
			d.tx.Signal()
		}
		if d.tx == nil || d.txLeft || n < txBatch && !d.tx.EnableKicks() {
			return
		}
		d.flush()
		d.mu.Unlock()
		d.mu.Lock()
	}
	d.txLeft = true
}

// drainTx takes what is in the ring now, for the last time.
func (d *Device) drainTx() {
	if d.tx != nil {
		d.takeTx(int(d.tx.Size()))
	}
	if d.tx != nil {
		d.tx.Signal()
	}
}

// takeTx takes up to limit packets and returns how many it took. Fewer than the
// limit are left only when txLeft is set.
func (d *Device) takeTx(limit int) (n int) {
	d.txLeft = false
	for ; n < limit; n++ {
		if len(d.control) >= maxReplies {
			if d.flush(); len(d.control) >= maxReplies {
				d.txLeft = true
				return n
			}
		}
		if d.tx == nil {
			return n
		}
		ok, err := d.tx.Pop(&d.txChain)
		if err != nil {
			d.ringBroke(err)
			return n
		}
		if !ok {
			return n
		}
		d.receive(&d.txChain)
		d.tx.Push(&d.txChain, 0)
	}
	return n
}

// receive handles one packet from the guest.
func (d *Device) receive(chain *queue.Chain) {
	var raw [headerLen]byte
	if chain.Read(raw[:], 0) < headerLen {
		logPacket(d.log, "packet without a whole header", &header{})
		return
	}
	h := parseHeader(&raw)
	switch {
	case h.srcCID != d.guestCID: // a reply would reach the guest as somebody else's
		logPacket(d.log, "forged source", &h)
		return
	case h.dstCID != HostCID || h.typ != typeStream: // 5.10.6.4.2
		logPacket(d.log, "no such service", &h)
		d.refuse(&h)
		return
	}
	p := ports{guest: h.srcPort, host: h.dstPort}
	c := d.conns[p]
	switch {
	case c != nil:
		if err := c.receive(&h, chain); err != nil {
			logPacket(d.log, err.Error(), &h)
			d.abort(c, fmt.Errorf("%w: %w", ErrProtocol, err))
		}
	case h.op == opRequest:
		d.accept(p, &h)
	default:
		d.refuse(&h)
	}
}

// ringBroke ends everything after a driver's breach of the ring protocol, until the
// device is reset. The queue itself has told the transport.
func (d *Device) ringBroke(err error) {
	d.broken, d.rx, d.tx, d.event = true, nil, nil, nil
	d.endAll(fmt.Errorf("%w: %w", ErrStopped, err))
}
