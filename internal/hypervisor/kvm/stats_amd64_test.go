package kvm

import (
	"bytes"
	"testing"
	"time"
)

// codeAwaitButton powers off when the interrupt controller has seen the power
// button's interrupt, which nobody has allowed through.
var codeAwaitButton = append([]byte{
	0xE4, 0x20, // in al, 0x20: what the first PIC has requested
	0xA8, 1 << powerButtonGSI, // test al, 1<<5
	0x74, 0xFA, // jz back
}, codeOff...)

func TestPowerButton(t *testing.T) {
	vm := launch(t, spec(t, codeAwaitButton))
	select {
	case <-vm.Done():
		t.Fatalf("ended without being asked: %v", vm.Err())
	case <-time.After(50 * time.Millisecond):
	}
	if err := vm.PowerButton(); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, vm); err != nil {
		t.Errorf("ended with %v, want a power off", err)
	}
	if vm.PowerButton() == nil {
		t.Error("a machine that has ended has a power button")
	}
}

// TestExitsAreCounted: the guest writes to a port a hundred times.
func TestExitsAreCounted(t *testing.T) {
	const writes = 100
	m := spec(t, append(bytes.Repeat(out8(0x80, 0), writes), codeSpin...))
	m.VCPUs = 2
	machine := launch(t, m)
	for deadline := time.Now().Add(10 * time.Second); machine.Stats().Exits["io"] < writes; {
		if time.Now().After(deadline) {
			t.Fatalf("counted %+v", machine.Stats())
		}
	}
	counting := machine.(*vm).m.vcpus[0].stats != nil
	switch s := machine.Stats(); {
	case s.Exits["io"] != writes:
		t.Errorf("%d exits for %d writes to a port", s.Exits["io"], writes)
	case counting != (s.KernelExits >= writes):
		t.Errorf("KVM counts: %v; it says %d exits", counting, s.KernelExits)
	}
	machine.Kill()
	if s := machine.Stats(); s.Exits["io"] != writes || s.KernelExits != 0 || s.Processes != nil {
		t.Errorf("a machine that has ended says %+v", s)
	}
}

func TestExitKinds(t *testing.T) {
	got := exitKinds(map[string]uint64{"exits": 9, "io_exits": 4, "irq_window_exits": 0, "pf_taken": 3})
	if len(got) != 2 || got["io"] != 4 {
		t.Errorf("kinds %v", got)
	}
}
