package guestmem

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore returns mincore(2)'s byte for each page of b.
func mincore(t *testing.T, b []byte) []byte {
	t.Helper()
	vec := make([]byte, (len(b)+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	return vec
}
