//go:build tcg

package tcg

import (
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestCPUQuota: a guest whose vCPUs all spin gets its share of processor time.
func TestCPUQuota(t *testing.T) {
	for _, c := range []struct {
		name  string
		flags []string
		share float64 // of one processor
	}{
		{"half of one", []string{"-c", "0.5"}, 0.5},
		{"two with a half together", []string{"-c", "2", "--cpu-quota", "50000"}, 0.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"run", "--network", "none"}, c.flags...)
			p := vmtest.Start(t, append(args, "--", "sh", "-c", "yes >/dev/null & echo spinning; while :; do :; done")...)
			t.Cleanup(func() {
				_ = p.Cmd.Process.Signal(syscall.SIGTERM)
				p.Wait(t)
			})
			p.WaitOutput(t, "spinning\n")
			// What the boot left of its quota is spent first. A host that is busy
			// with other things may keep a guest from its share for a while.
			var got float64
			for range 5 {
				time.Sleep(time.Second)
				if got = share(t, p, 3*time.Second); got > c.share*0.9 && got < c.share*1.1 {
					break
				}
			}
			t.Logf("%.3f of a processor", got)
			if got < c.share*0.9 || got > c.share*1.1 {
				t.Errorf("%.3f of a processor, want %.2f", got, c.share)
			}
		})
	}
}

// share is how much of a processor the VM of p uses.
func share(t *testing.T, p *vmtest.Process, during time.Duration) float64 {
	t.Helper()
	start, used := time.Now(), processorTime(t, p)
	time.Sleep(during)
	return (processorTime(t, p) - used).Seconds() / time.Since(start).Seconds()
}

// processorTime is that of the command and all processes below it so far.
func processorTime(t *testing.T, p *vmtest.Process) (sum time.Duration) {
	t.Helper()
	for _, pid := range vmtest.Tree(t, p.Cmd.Process.Pid, "") {
		used, _ := vmtest.ProcessTime(pid) // 0 of one that has ended
		sum += used
	}
	return sum
}
