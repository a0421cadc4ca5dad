package vsock

import (
	"sync"
	"time"
)

// deadline is one direction's deadline, guarded by the lock of its condition.
type deadline struct {
	passed bool
	timer  *time.Timer
}

// set starts the deadline anew and wakes the waiters when it passes. The zero
// time means none.
func (d *deadline) set(c *sync.Cond, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	left := time.Until(t)
	d.passed = !t.IsZero() && left <= 0
	switch {
	case d.passed:
		c.Broadcast()
	case !t.IsZero():
		var mine *time.Timer
		mine = time.AfterFunc(left, func() {
			c.L.Lock()
			defer c.L.Unlock()
			if d.timer == mine { // else it was set anew meanwhile
				d.passed = true
				c.Broadcast()
			}
		})
		d.timer = mine
	}
}
