package eventfd

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Raw system calls are made behind the Go scheduler's back: it neither takes the
// processor away meanwhile nor wakes its monitor thread for it, which costs two
// context switches whenever all was idle before. They may not block for long.

// rawWrite writes to a non-blocking descriptor.
func rawWrite(fd int, p []byte) {
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
}

// rawRead reads from a non-blocking descriptor.
func rawRead(fd int, p []byte) {
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
}

// rawWait waits until fd is readable, at most ns nanoseconds, and reports
// whether it is.
func rawWait(fd int, ns int64) bool {
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	ts := unix.Timespec{Nsec: ns}
	n, _, e := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	return e == 0 && n == 1
}
