package guestmem

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve takes n bytes of address space that nothing else gets. They cannot be
// touched before [mapOver] has put something there.
func reserve(n uint64) ([]byte, error) {
	at, err := unix.MmapPtr(-1, 0, nil, uintptr(n), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(at), n), nil
}

// release gives back address space that [reserve] took and [move] has not emptied.
func release(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return unix.MunmapPtr(start(b), uintptr(len(b)))
}

// mapOver replaces what is mapped at b by as many bytes of f, from off, to which nobody
// else sees b's writes.
func mapOver(b []byte, f *os.File, off int64) error {
	const prot = unix.PROT_READ | unix.PROT_WRITE
	_, err := unix.MmapPtr(int(f.Fd()), off, start(b), uintptr(len(b)), prot, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	return err
}

// move puts what is mapped at from, which is one mapping, to the address of to, in place
// of what is there. Nothing is mapped at from then, and anybody may get its addresses.
func move(to, from []byte) error {
	_, err := unix.MremapPtr(start(from), uintptr(len(from)), start(to), uintptr(len(from)), unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED)
	return err
}

func start(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
