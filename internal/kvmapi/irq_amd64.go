package kvmapi

import "fmt"

// Request numbers of the interrupt controllers.
const (
	ioCreateIRQChip = 0xAE60
	ioGetIRQChip    = 0xC208AE62
	ioSetIRQChip    = 0x8208AE63
	ioGetLAPIC      = 0x8400AE8E
	ioSetLAPIC      = 0x4400AE8F
)

// CreateIRQChip is KVM_CREATE_IRQCHIP (4.24): an IOAPIC, two PICs and a local
// APIC in each vCPU made after it, all in the kernel.
func (v *VM) CreateIRQChip() error {
	if _, err := ioctl(v.f, ioCreateIRQChip, 0); err != nil {
		return fmt.Errorf("create irqchip: %w", err)
	}
	return nil
}

// IRQChip mirrors struct kvm_irqchip: one controller's state, as the kernel
// keeps it.
type IRQChip struct {
	ID   uint32 // 0 and 1: the PICs; 2: the IOAPIC (kvm.h, KVM_IRQCHIP_*)
	_    uint32
	Data [512]byte
}

// IRQChip is KVM_GET_IRQCHIP (4.26) for the controller whose ID is chip.
func (v *VM) IRQChip(chip int) (IRQChip, error) {
	c := IRQChip{ID: uint32(chip)}
	if err := ioctlPointer(v.f, ioGetIRQChip, &c); err != nil {
		return c, fmt.Errorf("get irqchip %d: %w", chip, err)
	}
	return c, nil
}

// SetIRQChip is KVM_SET_IRQCHIP (4.27).
func (v *VM) SetIRQChip(chip IRQChip) error {
	if err := ioctlPointer(v.f, ioSetIRQChip, &chip); err != nil {
		return fmt.Errorf("set irqchip %d: %w", chip.ID, err)
	}
	return nil
}

// LAPIC mirrors struct kvm_lapic_state: the register page of a local APIC
// (Intel SDM volume 3, table 11-1).
type LAPIC [1024]byte

// LAPIC is KVM_GET_LAPIC (4.57).
func (c *VCPU) LAPIC() (LAPIC, error) {
	var l LAPIC
	if err := ioctlPointer(c.f, ioGetLAPIC, &l); err != nil {
		return l, fmt.Errorf("get local apic: %w", err)
	}
	return l, nil
}

// SetLAPIC is KVM_SET_LAPIC (4.58). The APIC base of [VCPU.SetSregs] comes
// first, because it decides how the page is read.
func (c *VCPU) SetLAPIC(l LAPIC) error {
	if err := ioctlPointer(c.f, ioSetLAPIC, &l); err != nil {
		return fmt.Errorf("set local apic: %w", err)
	}
	return nil
}
