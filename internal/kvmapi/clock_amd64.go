package kvmapi

import "fmt"

// Request numbers of clocks.
const (
	ioSetClock     = 0x4030AE7B
	ioGetClock     = 0x8030AE7C
	ioSetTSCKHz    = 0xAEA2
	ioGetTSCKHz    = 0xAEA3
	ioKVMClockCtrl = 0xAEAD
)

// Clock mirrors struct kvm_clock_data: the machine's paravirtual clock.
type Clock struct {
	Clock    uint64 // ns
	Flags    uint32 // which of the rest count (KVM_CLOCK_*)
	_        uint32
	Realtime uint64 // the host's CLOCK_REALTIME at that moment, ns
	HostTSC  uint64 // and its time stamp counter
	_        [4]uint32
}

// Clock is KVM_GET_CLOCK (4.29).
func (v *VM) Clock() (Clock, error) {
	var c Clock
	if err := ioctlPointer(v.f, ioGetClock, &c); err != nil {
		return c, fmt.Errorf("get clock: %w", err)
	}
	return c, nil
}

// SetClock is KVM_SET_CLOCK (4.30). Without flags the clock goes on from c.Clock:
// the time since it was read is lost to the guest.
func (v *VM) SetClock(c Clock) error {
	if err := ioctlPointer(v.f, ioSetClock, &c); err != nil {
		return fmt.Errorf("set clock: %w", err)
	}
	return nil
}

// SetTSCKHz is KVM_SET_TSC_KHZ (4.55): the frequency of the time stamp counter
// in kHz. Not every host can give its guests another than its own.
func (c *VCPU) SetTSCKHz(khz uint32) error {
	if _, err := ioctl(c.f, ioSetTSCKHz, uintptr(khz)); err != nil {
		return fmt.Errorf("set tsc frequency: %w", err)
	}
	return nil
}

// TSCKHz is KVM_GET_TSC_KHZ (4.56): the frequency of the time stamp counter in
// kHz. unix.EIO says that the host's is not stable.
func (c *VCPU) TSCKHz() (uint32, error) {
	khz, err := ioctl(c.f, ioGetTSCKHz, 0)
	if err != nil {
		return 0, fmt.Errorf("get tsc frequency: %w", err)
	}
	return uint32(khz), nil
}

// KVMClockCtrl is KVM_KVMCLOCK_CTRL (4.70): it
// tells the guest that the vCPU was paused, so that the guest's watchdogs do
// not fire. unix.EINVAL says that the guest does not use the clock (yet).
func (c *VCPU) KVMClockCtrl() error {
	if _, err := ioctl(c.f, ioKVMClockCtrl, 0); err != nil {
		return fmt.Errorf("mark vcpu as paused: %w", err)
	}
	return nil
}
