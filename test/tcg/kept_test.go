//go:build tcg

package tcg

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/vmtest"
)

// do runs a holt command that must succeed, and returns what it printed.
func do(t *testing.T, args ...string) string {
	t.Helper()
	r := vmtest.Run(t, args...)
	if r.Code != 0 {
		t.Fatalf("holt %q: exit status %d, printed %q; %s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// dont runs a holt command that must fail with 125 and an error that has all of
// these texts.
func dont(t *testing.T, args []string, says ...string) {
	t.Helper()
	r := vmtest.Run(t, args...)
	for _, text := range says {
		if r.Code != holt.StatusHoltFailed || !strings.Contains(r.Stderr, text) {
			t.Errorf("holt %q: exit status %d; no %q in %q", args, r.Code, text, r.Stderr)
		}
	}
}

// inspect is what `holt inspect` shows of a VM.
func inspect(t *testing.T, name string) holt.Info {
	t.Helper()
	var list []holt.Info
	if err := json.Unmarshal([]byte(do(t, "inspect", name)), &list); err != nil || len(list) != 1 {
		t.Fatalf("inspect %s: %v, %v", name, list, err)
	}
	return list[0]
}

// wantState fails the test unless a VM is in a state and, stopped, ended with status.
func wantState(t *testing.T, name string, state holt.State, status int) {
	t.Helper()
	i := inspect(t, name)
	if i.State != state || state == holt.StateStopped && (i.ExitStatus == nil || *i.ExitStatus != status) {
		t.Errorf("VM %s is %s with status %v (%s), want %s, %d", name, i.State, i.ExitStatus, i.Error, state, status)
	}
}

// waitLog waits until a VM's log has text n times.
func waitLog(t *testing.T, name, text string, n int) {
	t.Helper()
	log := ""
	vmtest.WaitFor(t, func() bool {
		log = do(t, "logs", name)
		return strings.Count(log, text) >= n
	}, func() string { return "not " + text + " often enough in the log: " + log })
}

// deathTime is how long it may take until everybody knows that a VM has died. The
// guests of a nested lane run under an emulator.
func deathTime() time.Duration {
	if os.Getenv("HOLT_BACKEND") == hypervisor.NameKVM {
		return 4 * time.Second
	}
	return 2 * time.Second
}
