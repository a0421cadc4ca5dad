package monitor

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoKeepsTheQuota: a VM is throttled exactly when it has a quota that means
// something and no control group that keeps it.
func TestWhoKeepsTheQuota(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  Spec
		quota time.Duration // that a control group is asked for
		held  bool          // by us
		log   string
	}{
		{"no quota", Spec{VCPUs: 1}, 0, false, ""},
		{"throttled", Spec{VCPUs: 1, CPUQuotaUS: 20_000}, 20 * time.Millisecond, true, "holding the vCPUs"},
		{"control group", Spec{VCPUs: 1, CPUQuotaUS: 20_000, ControlGroup: "/g"}, 20 * time.Millisecond, false, "by a control group"},
		{"all that it can use", Spec{VCPUs: 2, CPUQuotaUS: 200_000}, 0, false, ""},
		{"half of it", Spec{VCPUs: 2, CPUQuotaUS: 100_000}, 100 * time.Millisecond, false, "holding the vCPUs"},
		{"absurd", Spec{VCPUs: 1, CPUQuotaUS: 1 << 63}, 0, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := c.spec.Limits().CPUQuota; got != c.quota {
					t.Errorf("the quota is %v, want %v", got, c.quota)
				}
				var log strings.Builder
				start := time.Now()
				vm := &fakeVM{done: make(chan struct{}), cpu: func() time.Duration { return time.Since(start) }}
				stop := limitCPU(c.spec, vm, slog.New(slog.NewTextHandler(&log, nil)))
				time.Sleep(5 * time.Second)
				stop()
				if held := vm.holds.Load() > 0; held != c.held {
					t.Errorf("the VM was held: %v, want %v", held, c.held)
				}
				if !strings.Contains(log.String(), c.log) || (c.log == "") != (log.Len() == 0) {
					t.Errorf("the log says %q, want %q in it", log.String(), c.log)
				}
			})
		})
	}
}
