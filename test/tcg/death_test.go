//go:build tcg

package tcg

import (
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

// ticker is a program that prints something again and again.
const ticker = `while :; do echo tick; sleep 0.1; done`

// TestDeathOfTheGuest: whatever kills the guest, all who wait for something of it have
// the reason, with the end of its console, within two seconds.
func TestDeathOfTheGuest(t *testing.T) {
	vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "-m", "96M", "--", "sh", "-c", ticker)
	for _, c := range []struct{ name, script, says string }{
		{"panic", "echo c > /proc/sysrq-trigger", "Kernel panic - not syncing: sysrq triggered crash"},
		// The agent is pid 1 and cannot be killed; but it can crash.
		{"crash of the agent", "kill -SEGV 1", "Kernel panic - not syncing: Attempted to kill init!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "panic" {
				do(t, "start", "web")
			}
			all := waiters(t, "web")
			begin := time.Now()
			all = append(all, await(t, true, "exec", "web", "sh", "-c", c.script+"; sleep 600"))
			wantAllToKnow(t, all, begin, c.says, "  | ")
			if out := do(t, "ps", "-a"); !strings.Contains(out, "stopped (failed)") {
				t.Errorf("ps -a: %s", out)
			}
			if i := inspect(t, "web"); !strings.Contains(i.Error, c.says) || strings.Contains(i.Error, "\n") {
				t.Errorf("inspect: %q", i.Error)
			}
		})
	}
}

// TestMemoryExhausted: a program that takes all of a guest's memory is killed by the
// guest's kernel, that is said, and the guest goes on.
func TestMemoryExhausted(t *testing.T) {
	vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "-m", "64M", "--", "sleep", "600")
	r := vmtest.Run(t, "exec", "web", "awk", `BEGIN { s = "x"; while (1) s = s s }`)
	if r.Code != 137 {
		t.Errorf("exit status %d, %q", r.Code, r.Stderr)
	}
	if out := do(t, "stats", "--no-stream", "--json", "web"); !strings.Contains(out, `"oom_kills":1`) {
		t.Errorf("stats: %s", out)
	}
	do(t, "stop", "web")
}
