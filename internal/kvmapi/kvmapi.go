// Package kvmapi is the ioctl interface of /dev/kvm and nothing else: a leaf
// without policy, which knows what the kernel's calls and structures look like
// and not what anybody wants with them.
//
// Numbers and layouts are those of Linux's include/uapi/linux/kvm.h and
// Documentation/virt/kvm/api.rst; section numbers below refer to the latter.
package kvmapi

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// APIVersion is what [Device.APIVersion] returns on every kernel since 2.6.22
// (api.rst, 4.1).
const APIVersion = 12

// ioctl request numbers: _IO(0xAE, nr) and its kin.
const (
	ioGetAPIVersion    = 0xAE00
	ioCreateVM         = 0xAE01
	ioGetVCPUMmapSize  = 0xAE04
	ioCreateVCPU       = 0xAE41
	ioSetUserMemRegion = 0x4020AE46
	ioRun              = 0xAE80
)

// Device is an open /dev/kvm.
type Device struct{ f *os.File }

// Open opens /dev/kvm. The error is an *os.PathError, so that callers can tell
// a device that is missing from one that they may not use.
func Open() (*Device, error) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &Device{f}, nil
}

// Close closes the device. Machines made from it live on.
func (d *Device) Close() error { return d.f.Close() }

// APIVersion is KVM_GET_API_VERSION (4.1).
func (d *Device) APIVersion() (int, error) {
	v, err := ioctl(d.f, ioGetAPIVersion, 0)
	return int(v), err
}

// CreateVM is KVM_CREATE_VM (4.2) with the default machine type. It is repeated
// when a signal interrupts it, which Go's own preemption signal may do.
func (d *Device) CreateVM() (*VM, error) {
	for {
		fd, err := ioctl(d.f, ioCreateVM, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("create vm: %w", err)
		}
		size, err := ioctl(d.f, ioGetVCPUMmapSize, 0)
		if err != nil {
			unix.Close(int(fd))
			return nil, fmt.Errorf("get vcpu mmap size: %w", err)
		}
		return &VM{f: os.NewFile(fd, "kvm-vm"), runSize: int(size)}, nil
	}
}

// VM is a virtual machine.
type VM struct {
	f       *os.File
	runSize int
}

// Close drops the descriptor; the machine ends when its vCPUs are closed too.
func (v *VM) Close() error { return v.f.Close() }

// SetMemory is KVM_SET_USER_MEMORY_REGION (4.35): host becomes the guest's
// memory at guestAddr, in the given slot. The caller keeps host mapped until
// the machine has ended. An empty host removes the slot.
func (v *VM) SetMemory(slot uint32, guestAddr uint64, host []byte) error {
	region := userMemoryRegion{Slot: slot, GuestPhysAddr: guestAddr, MemorySize: uint64(len(host))}
	if err := setMemory(v.f, &region, host); err != nil {
		return fmt.Errorf("set user memory region: %w", err)
	}
	return nil
}

// CreateVCPU is KVM_CREATE_VCPU (4.7) together with the mapping of its run
// structure.
func (v *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := ioctl(v.f, ioCreateVCPU, uintptr(id))
	if err != nil {
		return nil, fmt.Errorf("create vcpu %d: %w", id, err)
	}
	run, err := unix.Mmap(int(fd), 0, v.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(int(fd))
		return nil, fmt.Errorf("map vcpu %d: %w", id, err)
	}
	return &VCPU{f: os.NewFile(fd, "kvm-vcpu"), run: run}, nil
}

// VCPU is a virtual CPU. All calls but [VCPU.SetImmediateExit] belong to one
// thread.
type VCPU struct {
	f   *os.File
	run []byte // struct kvm_run, shared with the kernel
}

// Close unmaps the run structure and closes the vCPU. It must not run at the
// same time as any other call.
func (c *VCPU) Close() error {
	unix.Munmap(c.run)
	return c.f.Close()
}

// Run is KVM_RUN (4.10): it returns when the guest needs its monitor, with the
// reason to be had from [VCPU.ExitReason]. unix.EINTR says that a signal or
// [VCPU.SetImmediateExit] ended it; callers that did not want that call again.
func (c *VCPU) Run() error {
	_, err := ioctl(c.f, ioRun, 0)
	return err
}

// ioctl's errors are bare errno values: callers compare them and say what they
// were doing.
func ioctl(f *os.File, req, arg uintptr) (uintptr, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, arg)
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}
