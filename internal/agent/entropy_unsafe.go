package agent

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// entropy is a struct rand_pool_info (random(4)): bytes that nobody can guess.
type entropy struct {
	bits  int32 // filled in by add
	size  int32 // of bytes
	bytes [agentproto.MaxSeed]byte
}

// add gives the bytes to the kernel's random numbers, to which random is open, makes
// everything that is drawn from now on depend on them, and forgets them.
//
//go:nosplit
func (e *entropy) add(random int) unix.Errno {
	e.bits = 8 * e.size
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(random), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(e)))
	e.bytes = [agentproto.MaxSeed]byte{}
	if errno != 0 {
		return errno
	}
	_, _, errno = unix.RawSyscall(unix.SYS_IOCTL, uintptr(random), unix.RNDRESEEDCRNG, 0)
	if errno == unix.ENODATA { // nothing has been drawn yet
		errno = 0
	}
	return errno
}

// reseed seeds the kernel's random numbers again, with at most agentproto.MaxSeed bytes.
func reseed(seed []byte) error {
	random, err := unix.Open("/dev/urandom", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/urandom: %w", err)
	}
	defer unix.Close(random)
	e := &entropy{}
	e.size = int32(copy(e.bytes[:], seed))
	if errno := e.add(random); errno != 0 {
		return fmt.Errorf("seed random numbers: %w", errno)
	}
	return nil
}
