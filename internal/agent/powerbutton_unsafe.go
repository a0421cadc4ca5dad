package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// isPowerButton reports whether an input device has a power key.
func isPowerButton(fd int) bool {
	var keys [keyBytes]byte
	// EVIOCGBIT(EV_KEY): direction, size, type and number, as _IOR of asm-generic/ioctl.h
	// puts them.
	request := 2<<30 | uintptr(len(keys))<<16 | 'E'<<8 | (0x20 + evKey)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&keys)))
	return errno == 0 && keys[keyPower/8]&(1<<(keyPower%8)) != 0
}
