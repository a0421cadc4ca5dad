package diskimage

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ErrInUse is wrapped by the error of Open for an image that another disk of this
// virtual machine, another virtual machine or another program has locked.
var ErrInUse = errors.New("is in use")

// The bytes that QEMU and its tools lock in an image. Whoever makes some use of it
// holds a shared lock on that use's byte from 100 on, and whoever bears no other
// with some use one on that use's byte from 200 on; each looks at the bytes of the
// other kind.
const (
	useRead       = 100
	useWrite      = 101
	bearsNoWrite  = 201
	bearsNoResize = 203
	lockFirst     = 100
	lockLength    = 200 // bytes: both kinds
)

// lock takes the image that fd refers to: for a writer all of QEMU's bytes at once,
// exclusively, which admits neither QEMU nor another of us; for a reader those that
// QEMU locks for one. The locks belong to the open file description (F_OFD_SETLK),
// so that two of one process exclude each other too, and end with it.
func lock(fd int, readOnly bool) error {
	if !readOnly {
		return setLock(fd, unix.F_WRLCK, lockFirst, lockLength)
	}
	for _, at := range []int64{useRead, bearsNoWrite, bearsNoResize} {
		if err := setLock(fd, unix.F_RDLCK, at, 1); err != nil {
			return err
		}
	}
	// A writer of QEMU's locks its byte before it looks at ours, and we lock ours
	// before we look at its: at least one of both sees the other.
	other := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: useWrite, Len: 1}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &other); err != nil {
		return fmt.Errorf("look for locks: %w", err)
	}
	if other.Type != unix.F_UNLCK {
		return inUse("for writing ")
	}
	return nil
}

// unlock gives up all locks. Closing alone does not while a child that is being
// started, by another virtual machine of this process, still has the descriptor.
func unlock(fd int) {
	// The close comes next, and does it sooner or later.
	_ = unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart, Start: lockFirst, Len: lockLength})
}

func setLock(fd int, kind int16, start, length int64) error {
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: start, Len: length})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES):
		if kind == unix.F_RDLCK {
			return inUse("for writing ")
		}
		return inUse("")
	}
	return fmt.Errorf("lock it: %w", err)
}

// inUse says who may have it, since the kernel does not tell.
func inUse(how string) error {
	return fmt.Errorf("%w: another VM, another disk of this VM or another program has it open %s(one may write, or several may read)", ErrInUse, how)
}
