package qemu

import (
	"context"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
)

// nudgeTime is how often a guest that runs guests is nudged.
const nudgeTime = 500 * time.Millisecond

// nudge interrupts a guest that runs guests under emulation now and then, until it
// has ended. QEMU (7.2) changes a virtual processor's request bits when it enters and
// leaves a nested guest, without the lock under which a device sets the bit for a
// waiting interrupt. So once in a while that bit is lost, and the interrupt waits for
// the next one. If it is the timer's, which is set again only when it was delivered,
// there is no next one: the processor would run its guest, or sleep, for ever.
//
// Telling the balloon the size that it has is an interrupt that does nothing else.
func (v *vm) nudge(m hypervisor.Machine) {
	if !m.Has(virtio.TypeBalloon) {
		return
	}
	tick := time.NewTicker(nudgeTime)
	defer tick.Stop()
	for {
		select {
		case <-v.done:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		// Before the guest's driver is there the command is refused; that will do.
		_ = v.qmp.execute(ctx, "balloon", map[string]any{"value": m.MemoryBytes})
		cancel()
	}
}
