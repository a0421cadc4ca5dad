package kvmapi

import "fmt"

// Request numbers of CPUID.
const (
	ioGetSupportedCPUID = 0xC008AE05
	ioSetCPUID2         = 0x4008AE90
)

// CPUIDEntry mirrors struct kvm_cpuid_entry2: one leaf of the CPUID
// instruction.
type CPUIDEntry struct {
	Function, Index, Flags uint32
	EAX, EBX, ECX, EDX     uint32
	_                      [3]uint32
}

// CPUIDSignificantIndex is the flag of an entry which is one of several of its
// function and answers only to its Index (KVM_CPUID_FLAG_SIGNIFCANT_INDEX).
const CPUIDSignificantIndex = 1 << 0

// maxCPUIDEntries is how many leaves a call may carry: KVM's own limit
// (KVM_MAX_CPUID_ENTRIES).
const maxCPUIDEntries = 256

// cpuid2 mirrors struct kvm_cpuid2 with room for every leaf there can be.
type cpuid2 struct {
	N       uint32
	_       uint32
	Entries [maxCPUIDEntries]CPUIDEntry
}

// SupportedCPUID is KVM_GET_SUPPORTED_CPUID (4.46): the leaves that this host
// can give a guest.
func (d *Device) SupportedCPUID() ([]CPUIDEntry, error) {
	c := cpuid2{N: maxCPUIDEntries}
	if err := ioctlPointer(d.f, ioGetSupportedCPUID, &c); err != nil {
		return nil, fmt.Errorf("get supported cpuid: %w", err)
	}
	return c.Entries[:min(c.N, maxCPUIDEntries)], nil
}

// SetCPUID is KVM_SET_CPUID2 (see 4.20): what CPUID shows to the guest. At most
// 256 entries.
func (c *VCPU) SetCPUID(entries []CPUIDEntry) error {
	if len(entries) > maxCPUIDEntries {
		return fmt.Errorf("set cpuid: %d entries, at most %d can be", len(entries), maxCPUIDEntries)
	}
	arg := cpuid2{N: uint32(len(entries))}
	copy(arg.Entries[:], entries)
	if err := ioctlPointer(c.f, ioSetCPUID2, &arg); err != nil {
		return fmt.Errorf("set cpuid: %w", err)
	}
	return nil
}
