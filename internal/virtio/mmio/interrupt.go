package mmio

import "github.com/holtvm/holt/internal/virtio/eventfd"

// Bits of InterruptStatus (virtio 1.2, 4.2.2).
const (
	interruptUsed   = 1 // a used ring moved
	interruptConfig = 2 // configuration or status changed
)

// interrupt sets bit in InterruptStatus and signals the guest, unless the bit is
// set already: then a signal went out for it, and its handler has not come to the
// acknowledgement yet.
//
// That is right for a driver that acknowledges before it looks for what the bit
// stands for, as Linux does: vm_interrupt reads the status, writes it back, then
// runs the callbacks of its queues. The atomic operations on interrupts have one
// order. Either our Or comes before the acknowledgement; then the driver's look
// comes after both, and finds what was published before the Or. Or it comes
// behind, finds the bit clear, and signals. A driver that looks first and
// acknowledges then loses interrupts on any implementation: there the line stays
// high over a second event, and the acknowledgement takes both away.
//
// Every signal costs the guest an exit to read the status, and with several
// queues on one line many would find it 0.
func (t *Transport) interrupt(bit uint32) {
	if t.interrupts.Or(bit)&bit == 0 {
		eventfd.Signal(t.irq)
	}
}

// acknowledge is a write to InterruptACK. Like reading the status it needs no
// lock: a handler on one vCPU does not wait for a reset that another one writes.
func (t *Transport) acknowledge(bits uint32) { t.interrupts.And(^bits) }
