package kvm

import (
	"errors"
	"io"
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestMachinesLeaveNothing starts machines and ends them in each way there is; the
// process then holds what it held before.
func TestMachinesLeaveNothing(t *testing.T) {
	spins := spec(t, codeSpin)
	spins.VCPUs = 3
	off, bad := spec(t, codeOff), spins
	bad.Initramfs = "/nowhere"
	goesOn, refused := spins, spins
	goesOn.Devices = everyDevice(t)
	first := launch(t, goesOn)
	goesOn.Origin = save(t, first)
	first.Kill()
	refused.Origin = &hypervisor.Origin{State: goesOn.Origin.State, Memory: goesOn.Origin.Memory, Ready: func(*guestmem.Memory) error { return io.EOF }}
	backend := Backend{}
	round := func(t *testing.T) {
		start := func(m hypervisor.Machine) (hypervisor.VM, error) {
			m.Devices = everyDevice(t)
			return backend.Start(t.Context(), m)
		}
		if _, err := start(bad); err == nil {
			t.Fatal("a machine without its initramfs starts")
		}
		if _, err := start(refused); !errors.Is(err, io.EOF) {
			t.Fatalf("a machine that is refused: error %v", err)
		}
		again, err := start(goesOn)
		if err != nil {
			t.Fatal(err)
		}
		again.Kill()
		vm, err := start(off)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t, vm); err != nil {
			t.Fatal(err)
		}
		for _, pause := range []bool{false, true} {
			if vm, err = start(spins); err != nil {
				t.Fatal(err)
			}
			if pause {
				if err := vm.Pause(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			vm.Kill()
		}
	}
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for range 3 { // to warm up
		t.Run("round", round)
	}
	before := vmtest.ResourcesNow(t)
	for range rounds {
		t.Run("round", round)
	}
	// The race detector keeps some memory for each thread that there was.
	vmtest.NothingGrew(t, before, vmtest.Resources{Threads: 4, RSS: 32 << 20})
}
