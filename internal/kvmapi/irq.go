package kvmapi

import "fmt"

// Request numbers of interrupt lines and event descriptors.
const (
	ioIRQLine   = 0x4008AE61
	ioIRQFD     = 0x4020AE76
	ioIOEventFD = 0x4040AE79
)

// irqLevel mirrors struct kvm_irq_level.
type irqLevel struct{ GSI, Level uint32 }

// IRQLine is KVM_IRQ_LINE (4.25): the interrupt line gsi is high or low from now on.
// By the time it returns, the interrupt controllers in the kernel have seen it.
func (v *VM) IRQLine(gsi uint32, high bool) error {
	arg := irqLevel{GSI: gsi}
	if high {
		arg.Level = 1
	}
	if err := ioctlPointer(v.f, ioIRQLine, &arg); err != nil {
		return fmt.Errorf("set interrupt line %d: %w", gsi, err)
	}
	return nil
}

// irqFD mirrors struct kvm_irqfd.
type irqFD struct {
	FD, GSI, Flags, ResampleFD uint32
	_                          [16]byte
}

// IRQFD is KVM_IRQFD (4.75): each write to the eventfd fd is an edge on the
// interrupt line gsi. It needs the interrupt controller in the
// kernel.
func (v *VM) IRQFD(fd int, gsi uint32) error {
	arg := irqFD{FD: uint32(fd), GSI: gsi}
	if err := ioctlPointer(v.f, ioIRQFD, &arg); err != nil {
		return fmt.Errorf("set irqfd for gsi %d: %w", gsi, err)
	}
	return nil
}

// IOEventFD is an address without memory. The guest's writes there signal
// an eventfd instead of ending [VCPU.Run].
type IOEventFD struct {
	FD        int
	Addr      uint64  // guest-physical
	Len       uint32  // of the write, in bytes: 1, 2, 4, 8, or 0 for any, which excludes Datamatch
	Datamatch *uint64 // only writes of this value count; nil: of any
}

// ioEventFD mirrors struct kvm_ioeventfd.
type ioEventFD struct {
	Datamatch uint64
	Addr      uint64
	Len       uint32
	FD        int32
	Flags     uint32
	_         [36]byte
}

const ioEventFDDatamatch = 1 << 0 // KVM_IOEVENTFD_FLAG_DATAMATCH

// IOEventFD is KVM_IOEVENTFD (4.59). unix.EEXIST says that the place is taken.
func (v *VM) IOEventFD(e IOEventFD) error {
	arg := ioEventFD{Addr: e.Addr, Len: e.Len, FD: int32(e.FD)}
	if e.Datamatch != nil {
		arg.Flags |= ioEventFDDatamatch
		arg.Datamatch = *e.Datamatch
	}
	if err := ioctlPointer(v.f, ioIOEventFD, &arg); err != nil {
		return fmt.Errorf("set ioeventfd at %#x: %w", e.Addr, err)
	}
	return nil
}
