package monitor

import (
	"context"
	"fmt"
	"time"

	"github.com/holtvm/holt/internal/limits"
)

// A guest that does not come up shows itself by its processor time, not by the
// clock: on a busy host a sound boot may take minutes.
const (
	bootBudget = 20 * time.Second // of processor time for each vCPU, until the program starts
	// renewBudget is the same for a guest that goes on from where it was saved: its
	// programs run meanwhile, and may use all that there is.
	renewBudget = 10 * bootBudget
	idleLimit   = 10 * time.Second // of real time in which it uses less than
	idleCPU     = 400 * time.Millisecond
	watchEvery  = 500 * time.Millisecond
	// serveLimit is the real time for which it may wait for one answer of the host's
	// files after the other: a busy disk, or one behind a network, takes a while.
	serveLimit = 5 * time.Minute
)

// watchdog looks whether a guest comes up.
type watchdog struct {
	budget time.Duration // of processor time
	// quota is what its vCPUs may use in each limits.Period; 0 for all that they can.
	quota   time.Duration
	cpuTime func() time.Duration // what they have used
	waited  func() time.Duration // how long they could have, and the host did not let them
	serving func() bool          // the host is at work for one of its disks or shared directories
}

// watch returns an error when the guest got nowhere: it used up its budget of
// processor time, or used next to none for too long, which is its own doing unless it
// waited most of that time for a processor, or for what the host reads and writes for
// it. It returns nil when ctx ends.
func (w watchdog) watch(ctx context.Context) error {
	idleCPU := idleCPU
	if w.quota > 0 { // of which a busy host gives it a part
		const periods = int64(idleLimit / limits.Period)
		idleCPU = min(idleCPU, time.Duration(periods)*w.quota/4)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	mark, markedAt := w.cpuTime(), time.Now()
	var halfWaited time.Duration // what it had waited when half of idleLimit was over
	half := false
	var served time.Duration // for so long the host has been at work, without a pause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		used := w.cpuTime()
		if used > w.budget {
			return fmt.Errorf("the guest did not come up within %v of processor time", w.budget)
		}
		if served += watchEvery; !w.serving() {
			served = 0
		}
		if served > serveLimit {
			return fmt.Errorf("the guest did not come up: for %v this host has been reading or writing its files", served.Round(time.Second))
		}
		if used-mark > idleCPU || served > 0 {
			mark, markedAt, half = used, time.Now(), false
		}
		switch idle := time.Since(markedAt); {
		case idle > idleLimit && w.waited()-halfWaited < idleLimit/4:
			return fmt.Errorf("the guest did not come up and has been idle for %v", idle.Round(time.Second))
		case idle > idleLimit:
			mark, markedAt, half = used, time.Now(), false
		case idle > idleLimit/2 && !half:
			half, halfWaited = true, w.waited()
		}
	}
}
