//go:build tcg

package main

import (
	"testing"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestVMMStart measures a monitor's start for a moment. Where there is no
// /dev/kvm, saying so is what it can do.
func TestVMMStart(t *testing.T) {
	b, err := prepare(t.Context(), options{short: true, runs: 2, holt: vmtest.Holt(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.cleanUp)
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
