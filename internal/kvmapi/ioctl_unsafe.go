package kvmapi

import (
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
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

// ioctl's errors are bare errno values: callers compare them and say what they
// were doing. arg is a number, never an address: see ioctlPointer.
func ioctl(f *os.File, req, arg uintptr) (uintptr, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, arg)
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// ioctlPointer passes arg's address. The generic parameter keeps callers from
// handing in a value that is no pointer.
func ioctlPointer[T any](f *os.File, req uintptr, arg *T) error {
	_, err := ioctlCount(f, req, arg)
	return err
}

// ioctlCount is ioctlPointer for the calls whose result is a number.
func ioctlCount[T any](f *os.File, req uintptr, arg *T) (uintptr, error) {
	fd := f.Fd()
	// The conversion stands in the argument list of the system call itself:
	// anywhere else, arg could be on a stack that moves in between.
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(f)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
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
