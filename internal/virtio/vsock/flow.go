package vsock

import "errors"

// flow is the credit accounting of one connection (virtio 1.2, 5.10.6.3). All
// counters are of bytes and wrap at 2^32.
type flow struct {
	sent      uint32 // what we sent (tx_cnt)
	peerAlloc uint32 // size of the guest's receive buffer (peer_buf_alloc)
	peerFwd   uint32 // how much of sent left that buffer (peer_fwd_cnt)

	consumed uint32 // what the reader took from our buffer (fwd_cnt)
	told     uint32 // consumed, as the guest last heard it
}

// maxInFlight bounds what is on its way to the guest, whatever size it gives
// its buffer, so that a counter that went back is told from one that advanced.
const maxInFlight = 1 << 30

var errCredit = errors.New("the guest consumed more than it was sent")

// heard takes the credit fields of a packet from the guest. Linux stamps and
// enqueues its packets in two steps, so one may overtake another: a counter
// that went back is old news, not a breach.
func (f *flow) heard(alloc, fwd uint32) error {
	advance := fwd - f.peerFwd
	if advance > 1<<31 {
		return nil
	}
	if advance > f.sent-f.peerFwd {
		return errCredit
	}
	f.peerAlloc, f.peerFwd = alloc, fwd
	return nil
}

// window is how many bytes may be sent now. A guest may shrink its buffer
// below what is in flight; that makes the window zero.
func (f *flow) window() int {
	inFlight := f.sent - f.peerFwd
	return max(0, int(min(f.peerAlloc, maxInFlight))-int(inFlight))
}

// owed is how much of our buffer was freed without the guest knowing.
func (f *flow) owed() uint32 { return f.consumed - f.told }
