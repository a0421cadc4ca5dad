package kvmapi

import (
	"testing"
	"unsafe"
)

// The request numbers carry the sizes that the kernel expects, so a structure
// that drifted from its layout shows itself here.
func TestStructSizesMatchRequestNumbers(t *testing.T) {
	size := func(req uintptr) uintptr { return req >> 16 & 0x3FFF }
	for _, c := range []struct {
		name string
		got  uintptr
		want uintptr
	}{
		{"kvm_userspace_memory_region", unsafe.Sizeof(userMemoryRegion{}), size(ioSetUserMemRegion)},
		{"kvm_regs", unsafe.Sizeof(Regs{}), size(ioSetRegs)},
		{"kvm_sregs (set)", unsafe.Sizeof(Sregs{}), size(ioSetSregs)},
		{"kvm_sregs (get)", unsafe.Sizeof(Sregs{}), size(ioGetSregs)},
		{"kvm_cpuid2 header (set)", unsafe.Offsetof(cpuid2{}.Entries), size(ioSetCPUID2)},
		{"kvm_cpuid2 header (get)", unsafe.Offsetof(cpuid2{}.Entries), size(ioGetSupportedCPUID)},
		{"kvm_cpuid_entry2", unsafe.Sizeof(CPUIDEntry{}), 40},
		{"kvm_segment", unsafe.Sizeof(Segment{}), 24},
		{"kvm_dtable", unsafe.Sizeof(Table{}), 16},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d bytes here, %d in the kernel", c.name, c.got, c.want)
		}
	}
}

func TestSetCPUIDBoundsItsEntries(t *testing.T) {
	if err := new(VCPU).SetCPUID(make([]CPUIDEntry, maxCPUIDEntries+1)); err == nil {
		t.Error("more entries than the structure holds were accepted")
	}
}
