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
		files time.Duration                        // for so long the host is at work, from 5 s on
		want  string                               // in the error; "" for none
		at    time.Duration                        // when the error is due, roughly
	}{
		{"busy all the time", 0, func(up time.Duration) time.Duration { return up }, false, 0, "processor time", 20 * time.Second},
		{"on a loaded host", 0, func(up time.Duration) time.Duration { return up / 15 }, false, 0, "", 0},
		{"dead at once", 0, func(time.Duration) time.Duration { return 0 }, false, 0, "idle", 10 * time.Second},
		{"dead after a while", 0, func(up time.Duration) time.Duration { return min(up, 3*time.Second) }, false, 0, "idle", 13 * time.Second},
		{"halted, with a ticking timer", 0, func(up time.Duration) time.Duration { return up / 100 }, false, 0, "idle", 10 * time.Second},
		{"starved on an overloaded host", 0, func(up time.Duration) time.Duration { return up / 100 }, true, 0, "", 0},
		{"throttled", 5 * time.Millisecond, func(up time.Duration) time.Duration { return up / 20 }, false, 0, "", 0},
		{"throttled, on a loaded host", time.Millisecond, func(up time.Duration) time.Duration { return up / 300 }, false, 0, "", 0},
		{"waits for a slow disk", 0, func(up time.Duration) time.Duration { return max(0, up-4*time.Minute) }, false, 3*time.Minute + 57*time.Second, "processor time", 4*time.Minute + 20*time.Second},
		{"waits for a disk, and is dead then", 0, func(time.Duration) time.Duration { return 0 }, false, 30 * time.Second, "idle", 45 * time.Second},
		{"waits for a disk for ever", 0, func(time.Duration) time.Duration { return 0 }, false, time.Hour, "reading or writing its files", serveLimit + 5*time.Second},
		{"dead, and may use little", time.Millisecond, func(up time.Duration) time.Duration { return 0 }, false, 0, "idle", 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				limit := 2 * time.Minute
				if c.want != "" {
					limit += c.at
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				up := func() time.Duration { return time.Since(start) }
				err := watchdog{
					bootBudget, c.quota, func() time.Duration { return c.cpu(up()) },
					func() time.Duration {
						if c.waits {
							return up()
						}
						return up() / 50
					},
					func() bool { return up() >= 5*time.Second && up() < 5*time.Second+c.files },
				}.watch(ctx)
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
