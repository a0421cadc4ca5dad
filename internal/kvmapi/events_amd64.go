package kvmapi

import "fmt"

// Events mirrors struct kvm_vcpu_events: what is on its way to a vCPU and has
// not reached it. All bytes but Nr and Shadow are 0 or 1.
type Events struct {
	Exception struct {
		Injected, Nr, HasErrorCode, Pending uint8
		ErrorCode                           uint32
	}
	Interrupt struct {
		Injected, Nr, Soft uint8
		Shadow             uint8 // 1: after MOV SS or POP SS; 2: after STI
	}
	NMI struct {
		Injected, Pending, Masked uint8
		_                         uint8
	}
	SIPIVector uint32
	Flags      uint32 // which of the parts count (KVM_VCPUEVENT_VALID_*)
	SMI        struct {
		SMM, Pending, SMMInsideNMI, LatchedInit uint8
	}
	TripleFault struct {
		Pending uint8
	}
	_                   [26]uint8
	ExceptionHasPayload uint8
	ExceptionPayload    uint64
}

// Events is KVM_GET_VCPU_EVENTS (4.31).
func (c *VCPU) Events() (Events, error) {
	var e Events
	if err := ioctlPointer(c.f, ioGetEvents, &e); err != nil {
		return e, fmt.Errorf("get vcpu events: %w", err)
	}
	return e, nil
}

// SetEvents is KVM_SET_VCPU_EVENTS (4.32).
func (c *VCPU) SetEvents(e Events) error {
	if err := ioctlPointer(c.f, ioSetEvents, &e); err != nil {
		return fmt.Errorf("set vcpu events: %w", err)
	}
	return nil
}
