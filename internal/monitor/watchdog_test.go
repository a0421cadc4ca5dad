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
		want  string                               // in the error; "" for none
		at    time.Duration                        // when the error is due, roughly
	}{
		{"busy all the time", 0, func(up time.Duration) time.Duration { return up }, "processor time", 20 * time.Second},
		{"on a loaded host", 0, func(up time.Duration) time.Duration { return up / 15 }, "", 0},
		{"dead at once", 0, func(time.Duration) time.Duration { return 0 }, "idle", 10 * time.Second},
		{"dead after a while", 0, func(up time.Duration) time.Duration { return min(up, 3*time.Second) }, "idle", 13 * time.Second},
		{"halted, with a ticking timer", 0, func(up time.Duration) time.Duration { return up / 100 }, "idle", 10 * time.Second},
		{"throttled", 5 * time.Millisecond, func(up time.Duration) time.Duration { return up / 20 }, "", 0},
		{"throttled, on a loaded host", time.Millisecond, func(up time.Duration) time.Duration { return up / 300 }, "", 0},
		{"dead, and may use little", time.Millisecond, func(up time.Duration) time.Duration { return 0 }, "idle", 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				err := watchBoot(ctx, bootBudget, c.quota, func() time.Duration { return c.cpu(time.Since(start)) })
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
