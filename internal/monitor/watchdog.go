package monitor

import (
	"context"
	"fmt"
	"time"
)

// A guest that does not come up shows itself by its processor time, not by the
// clock: on a busy host a sound boot may take minutes.
const (
	bootBudget = 20 * time.Second // of processor time until the program starts
	idleLimit  = 10 * time.Second // of real time in which it uses less than
	idleCPU    = 400 * time.Millisecond
	watchEvery = 500 * time.Millisecond
)

// watchBoot returns an error when the guest got nowhere: it used up its budget
// of processor time, or used next to none for too long. It returns nil when ctx ends.
func watchBoot(ctx context.Context, cpuTime func() time.Duration) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	mark, markedAt := cpuTime(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		used := cpuTime()
		if used > bootBudget {
			return fmt.Errorf("the guest did not come up within %v of processor time", bootBudget)
		}
		if used-mark > idleCPU {
			mark, markedAt = used, time.Now()
		}
		if idle := time.Since(markedAt); idle > idleLimit {
			return fmt.Errorf("the guest did not come up and has been idle for %v", idle.Round(time.Second))
		}
	}
}
