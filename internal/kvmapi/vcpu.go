package kvmapi

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Request numbers of a vCPU that every architecture has.
const (
	ioRun        = 0xAE80
	ioGetMPState = 0x8004AE98
	ioSetMPState = 0x4004AE99
	ioGetStatsFD = 0xAECE
	ioPreFault   = 0xC040AED5
)

// VCPU is a virtual CPU. All calls but [VCPU.SetImmediateExit] belong to one thread
// at a time.
type VCPU struct {
	vm  *VM
	f   *os.File
	run []byte // struct kvm_run, shared with the kernel
}

// Close unmaps the run structure and closes the vCPU. It must not run at the
// same time as any other call.
func (c *VCPU) Close() error {
	unix.Munmap(c.run)
	c.run = nil
	return c.f.Close()
}

// Run is KVM_RUN (4.10): it returns when the guest needs its monitor, with the
// reason to be had from [VCPU.ExitReason]. unix.EINTR says that a signal or
// [VCPU.SetImmediateExit] ended it, unix.EAGAIN that the vCPU had not been
// started and may be by now; callers that did not want that call again.
func (c *VCPU) Run() error {
	_, err := ioctl(c.f, ioRun, 0)
	return err
}

// MPState is KVM_GET_MP_STATE (4.38): whether the vCPU runs, sleeps or has not
// been started (kvm.h, KVM_MP_STATE_*). With the interrupt controller in the
// kernel it takes in INIT and SIPI that are on their way, so it comes before the
// other registers when a machine is saved.
func (c *VCPU) MPState() (uint32, error) {
	var s uint32
	if err := ioctlPointer(c.f, ioGetMPState, &s); err != nil {
		return 0, fmt.Errorf("get mp state: %w", err)
	}
	return s, nil
}

// SetMPState is KVM_SET_MP_STATE (4.39).
func (c *VCPU) SetMPState(state uint32) error {
	if err := ioctlPointer(c.f, ioSetMPState, &state); err != nil {
		return fmt.Errorf("set mp state: %w", err)
	}
	return nil
}

// preFaultMemory mirrors struct kvm_pre_fault_memory.
type preFaultMemory struct {
	gpa, size uint64
	_         [6]uint64 // flags, all of them 0, and room for more
}

// PreFault is KVM_PRE_FAULT_MEMORY (4.143), of Linux 6.11: it maps size bytes of guest
// memory from gpa on, both multiples of 4096, as if the vCPU had read them, and copies
// nothing. unix.EINVAL, of an older kernel, or unix.EOPNOTSUPP says that this host cannot.
func (c *VCPU) PreFault(gpa, size uint64) error {
	left := preFaultMemory{gpa: gpa, size: size} // the kernel counts what it has done
	for left.size > 0 {
		err := ioctlPointer(c.f, ioPreFault, &left)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("map %d bytes of guest memory at %#x: %w", left.size, left.gpa, err)
		}
	}
	return nil
}

// StatsFD is KVM_GET_STATS_FD (4.133): the vCPU's own counters, exits among
// them, for [ReadStats]. The caller closes it; reading it is allowed from any
// thread.
func (c *VCPU) StatsFD() (*os.File, error) {
	fd, err := ioctl(c.f, ioGetStatsFD, 0)
	if err != nil {
		return nil, fmt.Errorf("get kvm statistics: %w", err)
	}
	return os.NewFile(fd, "kvm-vcpu-stats"), nil
}
