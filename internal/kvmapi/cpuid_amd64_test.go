package kvmapi

import "testing"

func TestSetCPUIDBoundsItsEntries(t *testing.T) {
	if err := new(VCPU).SetCPUID(make([]CPUIDEntry, maxCPUIDEntries+1)); err == nil {
		t.Error("more entries than the structure holds were accepted")
	}
}
