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
)

// watchBoot returns an error when the guest got nowhere: it used up its budget of
// processor time, or used next to none for too long, which is its own doing unless it
// waited for a processor most of that time. It returns nil when ctx ends. quota is what
// its vCPUs may use in each limits.Period; 0 for all that they can.
func watchBoot(ctx context.Context, budget, quota time.Duration, cpuTime, waited func() time.Duration) error {
	idleCPU := idleCPU
	if quota > 0 { // of which a busy host gives it a part
		const periods = int64(idleLimit / limits.Period)
		idleCPU = min(idleCPU, time.Duration(periods)*quota/4)
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	mark, markedAt := cpuTime(), time.Now()
	var halfWaited time.Duration // what it had waited when half of idleLimit was over
	half := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		used := cpuTime()
		if used > budget {
			return fmt.Errorf("the guest did not come up within %v of processor time", budget)
		}
		if used-mark > idleCPU {
			mark, markedAt, half = used, time.Now(), false
		}
		switch idle := time.Since(markedAt); {
		case idle > idleLimit && waited()-halfWaited < idleLimit/4:
			return fmt.Errorf("the guest did not come up and has been idle for %v", idle.Round(time.Second))
		case idle > idleLimit:
			mark, markedAt, half = used, time.Now(), false
		case idle > idleLimit/2 && !half:
			half, halfWaited = true, waited()
		}
	}
}
