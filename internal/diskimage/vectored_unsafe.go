package diskimage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// preadv is preadv2(2): unlike unix.Preadv2 it allocates nothing.
func preadv(fd int, iov []unix.Iovec, off int64, flags int) (int, unix.Errno) {
	return transfer(unix.SYS_PREADV2, fd, iov, off, flags)
}

// pwritev is pwritev2(2).
func pwritev(fd int, iov []unix.Iovec, off int64, flags int) (int, unix.Errno) {
	return transfer(unix.SYS_PWRITEV2, fd, iov, off, flags)
}

// transfer needs 64-bit registers: the offset is in one, and its other half in
// none.
func transfer(trap uintptr, fd int, iov []unix.Iovec, off int64, flags int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)), uintptr(off), 0, uintptr(flags))
	return int(n), errno
}
