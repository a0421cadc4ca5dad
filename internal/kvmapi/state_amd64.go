package kvmapi

import "fmt"

// Request numbers of the rest of a vCPU's state.
const (
	ioGetEvents    = 0x8040AE9F
	ioSetEvents    = 0x4040AEA0
	ioGetDebugRegs = 0x8080AEA1
	ioSetDebugRegs = 0x4080AEA2
	ioGetXSave     = 0x9000AEA4
	ioSetXSave     = 0x5000AEA5
	ioGetXCRs      = 0x8188AEA6
	ioSetXCRs      = 0x4188AEA7
	ioGetXSave2    = 0x9000AECF
)

// xsaveSize is that of struct kvm_xsave without its extra part.
const xsaveSize = 4096

// xsaveArea says how many bytes the kernel reads and writes. Only a process that
// asked the kernel for larger state, as that of AMX, gets more than 4096.
func (c *VCPU) xsaveArea() (size int, xsave2 bool, err error) {
	size, err = c.vm.CheckExtension(CapXSave2)
	if err != nil {
		return 0, false, err
	}
	return max(size, xsaveSize), size > 0, nil
}

// XSave is KVM_GET_XSAVE2, or KVM_GET_XSAVE on kernels before 5.17 (4.134,
// 4.42): the area that the XSAVE instruction writes, in the layout of the
// host's CPUID leaf 0xD. 4096 bytes or, with state as large as AMX's, more.
func (c *VCPU) XSave() ([]byte, error) {
	size, xsave2, err := c.xsaveArea()
	if err != nil {
		return nil, fmt.Errorf("get xsave area: %w", err)
	}
	req := uintptr(ioGetXSave)
	if xsave2 {
		req = ioGetXSave2
	}
	area := make([]byte, size)
	if err := ioctlPointer(c.f, req, &area[0]); err != nil {
		return nil, fmt.Errorf("get xsave area: %w", err)
	}
	return area, nil
}

// SetXSave is KVM_SET_XSAVE (4.43). area is as long as [VCPU.XSave] has it here.
func (c *VCPU) SetXSave(area []byte) error {
	size, _, err := c.xsaveArea()
	if err != nil {
		return fmt.Errorf("set xsave area: %w", err)
	}
	if len(area) != size {
		return fmt.Errorf("set xsave area: it has %d bytes, this host's has %d", len(area), size)
	}
	if err := ioctlPointer(c.f, ioSetXSave, &area[0]); err != nil {
		return fmt.Errorf("set xsave area: %w", err)
	}
	return nil
}

// XCR mirrors struct kvm_xcr: an extended control register. 0 is the only one
// that processors have.
type XCR struct {
	XCR   uint32
	_     uint32
	Value uint64
}

// XCRs mirrors struct kvm_xcrs.
type XCRs struct {
	N     uint32 // how many of XCRs count
	Flags uint32
	XCRs  [16]XCR
	_     [16]uint64
}

// XCRs is KVM_GET_XCRS (4.44). unix.EINVAL says that the host has no XSAVE.
func (c *VCPU) XCRs() (XCRs, error) {
	var x XCRs
	if err := ioctlPointer(c.f, ioGetXCRs, &x); err != nil {
		return x, fmt.Errorf("get extended control registers: %w", err)
	}
	return x, nil
}

// SetXCRs is KVM_SET_XCRS (4.45). It comes after [VCPU.SetCPUID], which says what
// the guest may switch on.
func (c *VCPU) SetXCRs(x XCRs) error {
	if err := ioctlPointer(c.f, ioSetXCRs, &x); err != nil {
		return fmt.Errorf("set extended control registers: %w", err)
	}
	return nil
}

// DebugRegs mirrors struct kvm_debugregs.
type DebugRegs struct {
	DB       [4]uint64
	DR6, DR7 uint64
	Flags    uint64
	_        [9]uint64
}

// DebugRegs is KVM_GET_DEBUGREGS (4.33).
func (c *VCPU) DebugRegs() (DebugRegs, error) {
	var d DebugRegs
	if err := ioctlPointer(c.f, ioGetDebugRegs, &d); err != nil {
		return d, fmt.Errorf("get debug registers: %w", err)
	}
	return d, nil
}

// SetDebugRegs is KVM_SET_DEBUGREGS (4.34).
func (c *VCPU) SetDebugRegs(d DebugRegs) error {
	if err := ioctlPointer(c.f, ioSetDebugRegs, &d); err != nil {
		return fmt.Errorf("set debug registers: %w", err)
	}
	return nil
}
