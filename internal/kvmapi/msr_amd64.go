package kvmapi

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Request numbers of model-specific registers.
const (
	ioGetMSRIndexList = 0xC004AE02
	ioGetMSRs         = 0xC008AE88
	ioSetMSRs         = 0x4008AE89
)

// MSREntry mirrors struct kvm_msr_entry.
type MSREntry struct {
	Index uint32
	_     uint32
	Data  uint64
}

// maxMSRs is how many registers a call may carry: one less than KVM's
// MAX_IO_MSRS.
const maxMSRs = 255

// msrs mirrors struct kvm_msrs with room for as many as there can be.
type msrs struct {
	N       uint32
	_       uint32
	Entries [maxMSRs]MSREntry
}

// maxMSRIndices bounds what is asked of the kernel. Linux 6.18 lists fewer than
// 500 registers.
const maxMSRIndices = 1 << 16

// MSRIndexList is KVM_GET_MSR_INDEX_LIST (4.3): the registers that a saved
// machine consists of. A vCPU need not have all of them.
func (d *Device) MSRIndexList() ([]uint32, error) {
	// struct kvm_msr_list: a count, which the kernel sets to what it has
	// when the room does not suffice, and the indices.
	list := make([]uint32, 1)
	for {
		err := ioctlPointer(d.f, ioGetMSRIndexList, &list[0])
		n := list[0]
		if err == unix.E2BIG && n >= uint32(len(list)) && n <= maxMSRIndices {
			list = make([]uint32, 1+n)
			list[0] = n
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get msr index list: %w", err)
		}
		return list[1:min(1+int(n), len(list))], nil
	}
}

// MSRs is KVM_GET_MSRS (4.18). The kernel stops at the first register that it
// cannot read: the result ends before that one, without an error, and its
// length tells which it was.
func (c *VCPU) MSRs(indices []uint32) ([]MSREntry, error) { return getMSRs(c.f, indices) }

// FeatureMSRs is KVM_GET_MSRS (4.18) of /dev/kvm: of registers that tell features, what
// this host can show a guest. The result ends before the first that is none of those, as
// that of [VCPU.MSRs] does.
func (d *Device) FeatureMSRs(indices []uint32) ([]MSREntry, error) { return getMSRs(d.f, indices) }

func getMSRs(f *os.File, indices []uint32) ([]MSREntry, error) {
	read := make([]MSREntry, 0, len(indices))
	for len(indices) > 0 {
		arg := msrs{N: uint32(min(len(indices), maxMSRs))}
		for i, index := range indices[:arg.N] {
			arg.Entries[i].Index = index
		}
		n, err := ioctlCount(f, ioGetMSRs, &arg)
		if err != nil {
			return nil, fmt.Errorf("get msrs: %w", err)
		}
		read = append(read, arg.Entries[:min(n, uintptr(arg.N))]...)
		if n < uintptr(arg.N) {
			break
		}
		indices = indices[arg.N:]
	}
	return read, nil
}

// MSRError says which register the kernel would not set.
type MSRError struct{ Index uint32 }

func (e *MSRError) Error() string { return fmt.Sprintf("set msr %#x: refused", e.Index) }

// SetMSRs is KVM_SET_MSRS (4.19), in the given order. The kernel stops at the
// first register that it refuses, which is an *[MSRError]; those before it are
// set.
func (c *VCPU) SetMSRs(entries []MSREntry) error {
	for len(entries) > 0 {
		arg := msrs{N: uint32(min(len(entries), maxMSRs))}
		copy(arg.Entries[:], entries)
		n, err := ioctlCount(c.f, ioSetMSRs, &arg)
		if err != nil {
			return fmt.Errorf("set msrs: %w", err)
		}
		if n < uintptr(arg.N) {
			return &MSRError{entries[n].Index}
		}
		entries = entries[arg.N:]
	}
	return nil
}
