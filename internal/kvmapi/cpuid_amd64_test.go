package kvmapi

import (
	"slices"
	"testing"
)

func TestSetCPUIDBoundsItsEntries(t *testing.T) {
	if err := new(VCPU).SetCPUID(make([]CPUIDEntry, maxCPUIDEntries+1)); err == nil {
		t.Error("more entries than the structure holds were accepted")
	}
}

func TestCPUID(t *testing.T) {
	m := newMachine(t, false)
	supported, err := m.dev.SupportedCPUID()
	if err != nil {
		t.Fatal(err)
	}
	// "Holt" in EAX of a leaf that hypervisors may define.
	set := append(slices.Clone(supported), CPUIDEntry{Function: 0x4000_0099, EAX: 0x746C6F48})
	if err := m.vcpu.SetCPUID(set); err != nil {
		t.Fatal(err)
	}
	got, err := m.vcpu.CPUID()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(set) || got[len(got)-1].EAX != 0x746C6F48 {
		t.Errorf("%d leaves came back of %d, the last is %+v", len(got), len(set), got[len(got)-1])
	}
}
