package kvmapi

import "fmt"

// Request numbers of the basic registers; the size of the structure is bits 16
// to 29.
const (
	ioSetTSSAddr         = 0xAE47
	ioSetIdentityMapAddr = 0x4008AE48
	ioGetRegs            = 0x8090AE81
	ioSetRegs            = 0x4090AE82
	ioGetSregs           = 0x8138AE83
	ioSetSregs           = 0x4138AE84
	ioTranslate          = 0xC018AE85
)

// SetTSSAddr is KVM_SET_TSS_ADDR (4.36): three pages below 4 GiB that belong to
// KVM, which Intel's processors need to run real mode. They lie outside of
// memory and devices.
func (v *VM) SetTSSAddr(addr uint32) error {
	if _, err := ioctl(v.f, ioSetTSSAddr, uintptr(addr)); err != nil {
		return fmt.Errorf("set tss address: %w", err)
	}
	return nil
}

// SetIdentityMapAddr is KVM_SET_IDENTITY_MAP_ADDR (4.40): one more page of the
// kind of [VM.SetTSSAddr]'s. It comes before the first vCPU.
func (v *VM) SetIdentityMapAddr(addr uint64) error {
	if err := ioctlPointer(v.f, ioSetIdentityMapAddr, &addr); err != nil {
		return fmt.Errorf("set identity map address: %w", err)
	}
	return nil
}

// Regs mirrors struct kvm_regs: the general-purpose registers.
type Regs struct {
	RAX, RBX, RCX, RDX uint64
	RSI, RDI, RSP, RBP uint64
	R8, R9, R10, R11   uint64
	R12, R13, R14, R15 uint64
	RIP, RFLAGS        uint64
}

// Regs is KVM_GET_REGS (4.11). After an ExitIO or ExitMMIO they are settled
// only once [VCPU.Run] was called again.
func (c *VCPU) Regs() (Regs, error) {
	var r Regs
	if err := ioctlPointer(c.f, ioGetRegs, &r); err != nil {
		return r, fmt.Errorf("get registers: %w", err)
	}
	return r, nil
}

// SetRegs is KVM_SET_REGS (4.12).
func (c *VCPU) SetRegs(r Regs) error {
	if err := ioctlPointer(c.f, ioSetRegs, &r); err != nil {
		return fmt.Errorf("set registers: %w", err)
	}
	return nil
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
	InterruptBitmap         [4]uint64 // the one interrupt that is being delivered
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

// translation mirrors struct kvm_translation.
type translation struct {
	LinearAddress   uint64
	PhysicalAddress uint64
	Valid           uint8
	Writeable       uint8
	Usermode        uint8
	_               [5]uint8
}

// Translate is KVM_TRANSLATE (4.15): the guest-physical address behind a linear
// one, by the vCPU's page tables as they are. valid is false where nothing is
// mapped.
func (c *VCPU) Translate(linear uint64) (phys uint64, valid bool, err error) {
	arg := translation{LinearAddress: linear}
	if err := ioctlPointer(c.f, ioTranslate, &arg); err != nil {
		return 0, false, fmt.Errorf("translate address: %w", err)
	}
	return arg.PhysicalAddress, arg.Valid != 0, nil
}
