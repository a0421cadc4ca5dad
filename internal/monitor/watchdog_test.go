package monitor

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchBoot(t *testing.T) {
	for _, c := range []struct {
		name  string
		quota time.Duration
		cpu   func(up time.Duration) time.Duration // processor time used after so long
		waits bool                                 // for a processor, all the time
		want  string                               // in the error; "" for none
		at    time.Duration                        // when the error is due, roughly
	}{
		{"busy all the time", 0, func(up time.Duration) time.Duration { return up }, false, "processor time", 20 * time.Second},
		{"on a loaded host", 0, func(up time.Duration) time.Duration { return up / 15 }, false, "", 0},
		{"dead at once", 0, func(time.Duration) time.Duration { return 0 }, false, "idle", 10 * time.Second},
		{"dead after a while", 0, func(up time.Duration) time.Duration { return min(up, 3*time.Second) }, false, "idle", 13 * time.Second},
		{"halted, with a ticking timer", 0, func(up time.Duration) time.Duration { return up / 100 }, false, "idle", 10 * time.Second},
		{"starved on an overloaded host", 0, func(up time.Duration) time.Duration { return up / 100 }, true, "", 0},
		{"throttled", 5 * time.Millisecond, func(up time.Duration) time.Duration { return up / 20 }, false, "", 0},
		{"throttled, on a loaded host", time.Millisecond, func(up time.Duration) time.Duration { return up / 300 }, false, "", 0},
		{"dead, and may use little", time.Millisecond, func(up time.Duration) time.Duration { return 0 }, false, "idle", 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				err := watchBoot(ctx, bootBudget, c.quota, func() time.Duration { return c.cpu(time.Since(start)) }, func() time.Duration {
					if c.waits {
						return time.Since(start)
					}
					return time.Since(start) / 50
				})
				took := time.Since(start)
				if c.want == "" {
					if err != nil {
						t.Fatalf("after %v: %v", took, err)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), c.want) || took < c.at || took > c.at+2*time.Second {
					t.Errorf("after %v: %v; want %q after %v", took, err, c.want, c.at)
				}
			})
		})
	}
}
