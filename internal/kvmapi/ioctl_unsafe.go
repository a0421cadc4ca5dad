package kvmapi

import (
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// userMemoryRegion mirrors struct kvm_userspace_memory_region.
type userMemoryRegion struct {
	Slot          uint32
	Flags         uint32
	GuestPhysAddr uint64
	MemorySize    uint64 // bytes
	UserspaceAddr uint64
}

func setMemory(f *os.File, region *userMemoryRegion, host []byte) error {
	region.UserspaceAddr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(host))))
	return ioctlPointer(f, ioSetUserMemRegion, region)
}

// ioctlPointer passes arg's address. The generic parameter keeps callers from
// handing in a value that is no pointer.
func ioctlPointer[T any](f *os.File, req uintptr, arg *T) error {
	_, err := ioctl(f, req, uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(arg)
	return err
}

// SetImmediateExit makes the present or next [VCPU.Run] return unix.EINTR
// without entering the guest. It may be called from any thread; a vCPU that is
// inside the guest also needs a signal sent to its thread.
func (c *VCPU) SetImmediateExit(on bool) {
	// The flag is one byte of a word whose other bytes nobody else writes
	// while the vCPU runs: request_interrupt_window before it is ours and 0.
	var v uint32
	if on {
		v = 1 << (8 * runImmediateExit)
	}
	atomic.StoreUint32((*uint32)(unsafe.Pointer(unsafe.SliceData(c.run))), v)
}
