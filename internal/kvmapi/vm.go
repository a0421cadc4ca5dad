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
	ioEnableCap        = 0x4068AEA3
	ioGetStatsFD       = 0xAECE
)

// VM is a virtual machine. Its calls may come from any thread.
type VM struct {
	f       *os.File
	runSize int // bytes of struct kvm_run
}

// Close drops the descriptor; the machine ends when its vCPUs are closed too.
func (v *VM) Close() error { return v.f.Close() }

// CheckExtension is KVM_CHECK_EXTENSION (4.4) for this machine, which is the
// better answer where it differs from [Device.CheckExtension].
func (v *VM) CheckExtension(c Cap) (int, error) { return checkExtension(v.f, c) }

// enableCap mirrors struct kvm_enable_cap.
type enableCap struct {
	Cap, Flags uint32
	Args       [4]uint64
	_          [64]byte
}

// EnableCap is KVM_ENABLE_CAP (4.37) for this machine, with at most four
// arguments.
func (v *VM) EnableCap(c Cap, args ...uint64) error {
	arg := enableCap{Cap: uint32(c)}
	if len(args) > len(arg.Args) {
		return fmt.Errorf("enable kvm extension %d: %d arguments, at most %d can be", c, len(args), len(arg.Args))
	}
	copy(arg.Args[:], args)
	if err := ioctlPointer(v.f, ioEnableCap, &arg); err != nil {
		return fmt.Errorf("enable kvm extension %d: %w", c, err)
	}
	return nil
}

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

// StatsFD is KVM_GET_STATS_FD (4.133): the machine's own counters, for
// [ReadStats]. The caller closes it.
func (v *VM) StatsFD() (*os.File, error) { return statsFD(v.f, "kvm-vm-stats") }

func statsFD(f *os.File, name string) (*os.File, error) {
	fd, err := ioctl(f, ioGetStatsFD, 0)
	if err != nil {
		return nil, fmt.Errorf("get kvm statistics: %w", err)
	}
	return os.NewFile(fd, name), nil
}
