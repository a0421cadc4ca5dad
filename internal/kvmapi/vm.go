package kvmapi

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Request numbers of a machine that every architecture has. The size of the
// structure is bits 16 to 29.
const (
	ioCreateVCPU       = 0xAE41
	ioSetUserMemRegion = 0x4020AE46
)

// VM is a virtual machine. Its calls may come from any thread.
type VM struct {
	f       *os.File
	runSize int // bytes of struct kvm_run
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
	return &VCPU{vm: v, f: os.NewFile(fd, "kvm-vcpu"), run: run}, nil
}
