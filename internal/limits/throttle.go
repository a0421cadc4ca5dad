package limits

import (
	"context"
	"time"
)

// VM is a machine that can be throttled.
type VM interface {
	// Done is closed when the machine has ended.
	Done() <-chan struct{}
	// CPUTime is the processor time that it used so far. It may lag behind while
	// the vCPUs run.
	CPUTime() time.Duration
	// Hold keeps the vCPUs from running, or lets them go on.
	Hold(held bool)
}

// Throttle holds vm's vCPUs so that together they use no more than quota of
// processor time in each Period on average, until ctx or the VM ends; then it lets
// them go. What they used before counts. An idle VM costs few wake-ups.
func Throttle(ctx context.Context, vm VM, vcpus int, quota time.Duration) {
	defer vm.Hold(false)
	a := newAccount(vcpus, quota, time.Now())
	next := time.NewTimer(0)
	defer next.Stop()
	for held := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-vm.Done():
			return
		case <-next.C:
		}
		hold, wait := a.look(time.Now(), vm.CPUTime())
		if hold != held {
			held = hold
			vm.Hold(held)
		}
		next.Reset(wait)
	}
}
