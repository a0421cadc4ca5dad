package kvm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
)

// stateOf is the state of a paused machine.
func stateOf(t testing.TB, guest *vm) (s State) {
	t.Helper()
	err := guest.Save(func(state []byte, _ *guestmem.Memory) (err error) {
		s, err = decodeState(state)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSaveNeedsAPause: what runs has no state, and what has ended has none any more.
func TestSaveNeedsAPause(t *testing.T) {
	guest := launch(t, spec(t, codeSpin)).(*vm)
	never := func([]byte, *guestmem.Memory) error {
		t.Error("it was saved")
		return nil
	}
	if err := guest.Save(never); !errors.Is(err, errNotPaused) {
		t.Errorf("a running machine: error %v", err)
	}
	if err := guest.Look(func(mem *guestmem.Memory) error { return errNested }); !errors.Is(err, errNested) {
		t.Errorf("a look at a running machine: error %v, want its own", err)
	}
	if err := guest.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := guest.Save(func([]byte, *guestmem.Memory) error { return errNested }); !errors.Is(err, errNested) {
		t.Errorf("error %v, want the caller's own", err)
	}
	guest.Kill()
	if err := guest.Save(never); !errors.Is(err, errEnded) {
		t.Errorf("a machine that has ended: error %v", err)
	}
	if err := guest.Look(func(*guestmem.Memory) error { return nil }); !errors.Is(err, errEnded) {
		t.Errorf("a look at a machine that has ended: error %v", err)
	}
}

// TestSaveHoldsTheMachine: it stays as it is while somebody saves it, also when it is
// killed or resumed meanwhile.
func TestSaveHoldsTheMachine(t *testing.T) {
	for name, act := range map[string]func(*vm){
		"kill":   func(guest *vm) { guest.Kill() },
		"resume": func(guest *vm) { _ = guest.Resume(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			guest := launch(t, spec(t, codeCount())).(*vm)
			if err := guest.Pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			acted := make(chan struct{})
			err := guest.Save(func(_ []byte, mem *guestmem.Memory) error {
				counted := number(t, mem, countAddr)
				go func() {
					defer close(acted)
					act(guest)
				}()
				select {
				case <-acted:
					t.Error("it did not wait")
				case <-time.After(30 * time.Millisecond):
				}
				if now := number(t, mem, countAddr); now != counted {
					t.Errorf("the guest counted from %d to %d meanwhile", counted, now)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			within(t, "what waited", func() { <-acted })
		})
	}
}

// TestStateStays: a machine that goes on and has not run is saved as what it was.
func TestStateStays(t *testing.T) {
	m := spec(t, codeCount())
	m.VCPUs = 2
	m.Devices = everyDevice(t)
	first := launch(t, m).(*vm)
	time.Sleep(20 * time.Millisecond)
	m.Origin = save(t, first)
	was := stateOf(t, first)
	m.Devices = everyDevice(t)
	m.Logger = first.m.log
	second, err := build(m)
	if err != nil {
		t.Fatal(err)
	}
	second.gate.set(pause, true)
	guest := start(second)
	t.Cleanup(guest.Kill)
	if err := guest.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	is := stateOf(t, guest)
	for i, a := range was.VCPUs {
		b := is.VCPUs[i]
		if a.Regs != b.Regs || a.Sregs != b.Sregs || a.XCRs != b.XCRs || a.Debug != b.Debug || a.Events != b.Events || a.MPState != b.MPState || a.TSCKHz != b.TSCKHz {
			t.Errorf("vCPU %d: saved %+v\nloaded and saved %+v", i, a, b)
		}
		if !bytes.Equal(a.XSave, b.XSave) || !bytes.Equal(a.LAPIC, b.LAPIC) {
			t.Errorf("vCPU %d: another floating-point state or local APIC", i)
		}
		if len(a.CPUID) != len(b.CPUID) || len(a.MSRs) != len(b.MSRs) {
			t.Fatalf("vCPU %d: %d leaves and %d registers became %d and %d", i, len(a.CPUID), len(a.MSRs), len(b.CPUID), len(b.MSRs))
		}
		for j := range a.CPUID {
			if a.CPUID[j] != b.CPUID[j] {
				t.Errorf("vCPU %d: leaf %+v became %+v", i, a.CPUID[j], b.CPUID[j])
			}
		}
		for j := range a.MSRs {
			if a.MSRs[j] != b.MSRs[j] && a.MSRs[j].Index != msrTSC {
				t.Errorf("vCPU %d: MSR %+v became %+v", i, a.MSRs[j], b.MSRs[j])
			}
		}
	}
	for i := range was.Devices {
		if a, b := was.Devices[i], is.Devices[i]; a.Type != b.Type || !bytes.Equal(a.Device, b.Device) {
			t.Errorf("device %d: saved %s, loaded and saved %s", i, a.Device, b.Device)
		}
	}
}

// TestSaveTheChanges: a machine goes on from the file that it was saved to, and the
// second time only what it changed since is written.
func TestSaveTheChanges(t *testing.T) {
	m := spec(t, codeCount())
	first := launch(t, m).(hypervisor.Saver)
	countsBeyond(t, first, 100)
	origin := save(t, first)
	err := first.Save(func(_ []byte, mem *guestmem.Memory) error { return mem.Rebase(origin.Memory) })
	if err != nil {
		t.Fatal(err)
	}
	counted := func(guest hypervisor.Saver) (n uint64) {
		t.Helper()
		if err := guest.Look(func(mem *guestmem.Memory) error {
			n = number(t, mem, countAddr)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := first.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	countsBeyond(t, first, counted(first)+100)
	if err := first.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "changes"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m.Origin = &hypervisor.Origin{}
	err = first.Save(func(state []byte, mem *guestmem.Memory) error {
		runs, err := mem.WriteChanges(t.Context(), f)
		pages := uint32(0)
		for _, r := range runs {
			pages += r.Count
		}
		if pages == 0 || pages > 100 {
			t.Errorf("the guest changed %d pages", pages)
		}
		layers := append(slices.Clone(origin.Memory.Layers), guestmem.Layer{File: f, Runs: runs})
		m.Origin.State, m.Origin.Memory = bytes.Clone(state), &guestmem.Image{Size: mem.Size(), Layers: layers}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	last, begins := counted(first), uint64(0)
	m.Origin.Ready = func(mem *guestmem.Memory) error {
		begins = number(t, mem, countAddr)
		return nil
	}
	second := launch(t, m).(hypervisor.Saver)
	if begins != last {
		t.Errorf("the guest had counted to %d, and goes on from %d", last, begins)
	}
	countsBeyond(t, second, last+100)
}
