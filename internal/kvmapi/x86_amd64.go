package kvmapi

import "fmt"

// x86 request numbers; the size of the structure is bits 16 to 29.
const (
	ioGetSupportedCPUID = 0xC008AE05
	ioSetRegs           = 0x4090AE82
	ioGetSregs          = 0x8138AE83
	ioSetSregs          = 0x4138AE84
	ioSetCPUID2         = 0x4008AE90
)

// Regs mirrors struct kvm_regs: the general-purpose registers.
type Regs struct {
	RAX, RBX, RCX, RDX uint64
	RSI, RDI, RSP, RBP uint64
	R8, R9, R10, R11   uint64
	R12, R13, R14, R15 uint64
	RIP, RFLAGS        uint64
}

// Segment mirrors struct kvm_segment: a segment register with its hidden part
// (Intel SDM volume 3, 3.4.3).
type Segment struct {
	Base                           uint64
	Limit                          uint32
	Selector                       uint16
	Type, Present, DPL, DB         uint8
	S, L, G, AVL, Unusable, Unused uint8
}

// Table mirrors struct kvm_dtable: GDTR or IDTR.
type Table struct {
	Base  uint64
	Limit uint16
	_     [3]uint16
}

// Sregs mirrors struct kvm_sregs: segments, tables and control registers.
type Sregs struct {
	CS, DS, ES, FS, GS, SS  Segment
	TR, LDT                 Segment
	GDT, IDT                Table
	CR0, CR2, CR3, CR4, CR8 uint64
	EFER                    uint64
	APICBase                uint64
	InterruptBitmap         [4]uint64
}

// CPUIDEntry mirrors struct kvm_cpuid_entry2: one leaf of the CPUID
// instruction.
type CPUIDEntry struct {
	Function, Index, Flags uint32
	EAX, EBX, ECX, EDX     uint32
	_                      [3]uint32
}

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

// SetCPUID is KVM_SET_CPUID2 (4.47): what CPUID shows to the guest. At most
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

// SetRegs is KVM_SET_REGS (4.12).
func (c *VCPU) SetRegs(r Regs) error {
	if err := ioctlPointer(c.f, ioSetRegs, &r); err != nil {
		return fmt.Errorf("set registers: %w", err)
	}
	return nil
}

// Sregs is KVM_GET_SREGS (4.13).
func (c *VCPU) Sregs() (Sregs, error) {
	var s Sregs
	if err := ioctlPointer(c.f, ioGetSregs, &s); err != nil {
		return s, fmt.Errorf("get special registers: %w", err)
	}
	return s, nil
}

// SetSregs is KVM_SET_SREGS (4.14).
func (c *VCPU) SetSregs(s Sregs) error {
	if err := ioctlPointer(c.f, ioSetSregs, &s); err != nil {
		return fmt.Errorf("set special registers: %w", err)
	}
	return nil
}
