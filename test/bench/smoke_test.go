//go:build tcg

package main

import (
	"context"
	"slices"
	"testing"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/vmtest"
)

// shortBench is a benchmark that looks at things for a moment, in so many runs.
func shortBench(t *testing.T, runs int) *bench {
	t.Helper()
	b, err := prepare(t.Context(), options{short: true, runs: runs, holt: vmtest.Holt(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cleanUp)
	return b
}

// TestVMMStart measures a monitor's start for a moment. Where there is no
// /dev/kvm, saying so is what it can do.
func TestVMMStart(t *testing.T) {
	b := shortBench(t, 2)
	results, err := b.vmmStart(t.Context())
	if !b.kvm.Usable && b.kvm.Verdict != hypervisor.VerdictEmulates {
		if err == nil {
			t.Errorf("measured %v, without KVM: %s", results, b.kvm.Detail)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	figures := map[string]float64{}
	var steps float64
	for _, r := range results {
		if r.Ours <= 0 || r.Runs != 2 {
			t.Errorf("%s took %v ms in %d runs", r.Name, r.Ours, r.Runs)
		}
		figures[r.Name] = r.Ours
		if r.Name != "vmm-start" && r.Name != "vmm-start-command" {
			steps += r.Ours
		}
	}
	for _, name := range []string{"vmm-start", "vmm-start process", "vmm-start load", "vmm-start vcpus"} {
		if figures[name] == 0 {
			t.Errorf("there is no figure %q in %v", name, figures)
		}
	}
	// Medians of two are averages, so that the steps are all of it.
	if whole := figures["vmm-start"]; steps < whole*0.99 || steps > whole*1.01 {
		t.Errorf("the steps take %v ms of %v", steps, whole)
	}
}

// TestDevices measures each device that a server has for a moment.
func TestDevices(t *testing.T) {
	b := shortBench(t, 1)
	for _, one := range []struct {
		name  string
		run   func(context.Context) ([]result, error)
		rates []string
	}{
		{"net", b.network, []string{"net-to-host", "net-to-guest", "net-requests", "net-exchanges"}},
		{"blk", b.disk, []string{
			"blk-write", "blk-read", "blk-random-write", "blk-random-read", "blk-random-write-16", "blk-random-read-16", "blk-sync-write",
		}},
	} {
		t.Run(one.name, func(t *testing.T) {
			results, err := one.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, r := range results {
				if r.Ours <= 0 || r.Peer <= 0 || r.Runs != 1 {
					t.Errorf("%s: %v %s beside %v in %d runs", r.Name, r.Ours, r.Unit, r.Peer, r.Runs)
				}
				names = append(names, r.Name)
			}
			for _, name := range one.rates {
				if !slices.Contains(names, name) || !slices.Contains(names, name+"-cpu") {
					t.Errorf("there is no figure %q, or not what it cost, in %q", name, names)
				}
			}
		})
	}
}

// TestIntoGuest measures the ways into a guest for a moment.
func TestIntoGuest(t *testing.T) {
	vmtest.Home(t)
	b := shortBench(t, 1)
	for _, one := range []struct {
		name    string
		run     func(context.Context) ([]result, error)
		figures []string
	}{
		{"exec", b.exec, []string{
			"exec", "exec-p99", "exec-kept", "exec-kept-p99", "exec-api", "exec-api-p99", "ping", "ping-p99", "exec-floor",
		}},
		{"copy", b.copy, []string{"copy-file-to-guest", "copy-file-from-guest", "copy-tree-to-guest", "copy-tree-from-guest"}},
	} {
		t.Run(one.name, func(t *testing.T) {
			results, err := one.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantResults(t, results, 1, one.figures...)
		})
	}
}

// TestVMMRestore measures machines that go on from an image for a moment.
func TestVMMRestore(t *testing.T) {
	b := shortBench(t, 2)
	results, err := b.vmmRestore(t.Context())
	if !b.kvm.Usable && b.kvm.Verdict != hypervisor.VerdictEmulates {
		if err == nil {
			t.Errorf("measured %v, without KVM: %s", results, b.kvm.Detail)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	wantResults(t, results, 2, "vmm-restore", "vmm-restore-4g", "vmm-restore-size", "vmm-restore-slots")
}

// wantResults fails the test unless these are the results, each of so many runs.
func wantResults(t *testing.T, results []result, runs int, want ...string) {
	t.Helper()
	var names []string
	for _, r := range results {
		if r.Ours <= 0 || r.Peer <= 0 || r.Runs != runs {
			t.Errorf("%s: %v %s beside %v in %d runs", r.Name, r.Ours, r.Unit, r.Peer, r.Runs)
		}
		names = append(names, r.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("the figures are %q, not %q", names, want)
	}
}

// TestKVM looks at idle guests and at clones for a moment, in one outer VM if need be.
func TestKVM(t *testing.T) {
	// Other packages' tests look at what runs meanwhile.
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	b := shortBench(t, 1)
	w, err := b.work(1, "kvm-idle", clonesName)
	if err == nil {
		w.Commands, err = vmtest.MakeSSHRoot(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Seconds, w.Cold = 5, true
	rounds, err := b.runRounds(t.Context(), w)
	if err != nil {
		t.Logf("an emulated outer VM may get stuck, or its clock jump; once more, after: %v", err)
		rounds, err = b.runRounds(t.Context(), w)
	}
	if err != nil {
		t.Fatal(err)
	}
	figures := map[string]float64{}
	for _, r := range rounds.idleResults() {
		figures[r.Name] = r.Ours
	}
	// An idle guest has a timer, and its monitor some vCPU to run at it.
	for _, name := range []string{"kvm-idle-wakeups", "kvm-idle-guest-timer", "kvm-idle-machine-wakeups", "kvm-idle-machine-guest-timer"} {
		if figures[name] <= 0 {
			t.Errorf("%s is %v; all: %v", name, figures[name], figures)
		}
	}
	if cpu := figures["kvm-idle-cpu"]; cpu < 0 || cpu > 50 {
		t.Errorf("the monitor of an idle guest used %v %% of a core", cpu)
	}
	wantResults(t, rounds.cloneResults(), 1, "kvm-restore", "kvm-restore-start", "kvm-restore-exits", "kvm-restore-prefetch", "kvm-fork", "kvm-fork-start",
		"kvm-pool", "kvm-pool-acquire", "kvm-restore-qemu", "kvm-restore-start-qemu",
		"kvm-fork-memory", "kvm-fork-memory-guest", "kvm-fork-memory-monitor", "kvm-fork-memory-program")
}
