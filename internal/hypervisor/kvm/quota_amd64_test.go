package kvm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/limits"
)

// spinning starts a machine whose vCPUs spin, all of them from the start.
func spinning(t *testing.T, vcpus int) *vm {
	t.Helper()
	m := spec(t, codeSpin)
	m.VCPUs, m.Logger = vcpus, slog.New(slog.DiscardHandler)
	built, err := build(m)
	if err != nil {
		t.Fatal(err)
	}
	first := built.vcpus[0].api
	sregs, err := first.Sregs()
	regs, rerr := first.Regs()
	if err := errors.Join(err, rerr); err != nil {
		t.Fatal(err)
	}
	for _, c := range built.vcpus[1:] {
		const runnable = 0 // KVM_MP_STATE_RUNNABLE
		own, err := c.api.Sregs()
		sregs.APICBase = own.APICBase
		if err := errors.Join(err, c.api.SetSregs(sregs), c.api.SetRegs(regs), c.api.SetMPState(runnable)); err != nil {
			t.Fatal(err)
		}
	}
	guest := start(built)
	t.Cleanup(guest.Kill)
	return guest
}

// TestQuota throttles a guest that spins.
func TestQuota(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 2 s each")
	}
	for _, c := range []struct {
		vcpus int
		quota time.Duration
	}{
		{1, 20 * time.Millisecond}, {1, 50 * time.Millisecond}, {2, 50 * time.Millisecond}, {2, 150 * time.Millisecond},
	} {
		if c.quota > time.Duration(runtime.NumCPU())*limits.Period {
			continue // more than there is
		}
		t.Run(fmt.Sprintf("%v for %d", c.quota, c.vcpus), func(t *testing.T) {
			if fair, _ := throttled(t, c.vcpus, c.quota); fair {
				return
			}
			t.Log("once more: this host may be busy")
			switch fair, starved := throttled(t, c.vcpus, c.quota); {
			case fair:
			case starved:
				t.Log("this host is too busy to tell")
			default:
				t.Fail()
			}
		})
	}
}

// throttled runs a machine for 2 s. It reports whether it got its share, and
// whether that was less because the host made it wait.
func throttled(t *testing.T, vcpus int, quota time.Duration) (fair, starved bool) {
	guest := spinning(t, vcpus)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	limits.Throttle(ctx, guest, vcpus, quota)
	used, took, waited := guest.CPUTime(), time.Since(begin), delayed(t, guest)
	guest.Kill()
	part, want := float64(used)/float64(took), float64(quota)/float64(limits.Period)
	t.Logf("used %.4f processors in %v, asked for %.4f (%+.1f %%); the host made it wait for %v",
		part, took.Round(time.Millisecond), want, 100*(part/want-1), waited)
	return part > want*0.9 && part < want*1.1, part < want && 2*waited > time.Duration((want-part)*float64(took))
}

// delayed is how long a machine's vCPUs could have run and the host did not let
// them.
func delayed(t *testing.T, guest *vm) (sum time.Duration) {
	t.Helper()
	for _, c := range guest.m.vcpus {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", c.tid.Load()))
		var ran, waited int64
		if _, serr := fmt.Sscan(string(b), &ran, &waited); err != nil || serr != nil {
			t.Skipf("cannot tell how busy this host is: %v, %v", err, serr)
		}
		sum += time.Duration(waited)
	}
	return sum
}
