package agent

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// What is behind the gate. Every function is nosplit and makes raw system calls, so that
// Go's scheduler is never asked: see hold.

// futexWakePrivate wakes threads of this process (futex(2)).
const futexWakePrivate = 1 | 128

// open makes the gate what the holders at it are to see.
//
//go:nosplit
func (h *hold) open(state uint32) {
	atomic.StoreUint32(&h.gate.state, state)
	_, _, _ = unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&h.gate.state)), futexWakePrivate, uintptr(h.started))
}

// occupy opens the gate, and keeps all processors until user space is let go. When all
// are occupied it says so, if the mailbox is where the host was told.
//
//go:nosplit
func (h *hold) occupy(now *unix.Timespec) {
	h.open(gateOpen)
	deadline := monotonic(now) + h.timeout
	if spin(&h.gate.arrived, h.started, deadline, now) < h.started || !h.inPlace() {
		h.giveUp()
	}
	atomic.CompareAndSwapUint32(&h.box.state, agentproto.MailboxArming, agentproto.MailboxFrozen)
	if spin(&h.box.state, agentproto.MailboxGoOn, deadline, now) < agentproto.MailboxGoOn {
		h.giveUp()
	}
	if atomic.LoadUint32(&h.box.state) == agentproto.MailboxClone {
		h.takeOver()
	}
	atomic.StoreUint32(&h.gate.release, 1)
}

// giveUp lets user space go, unless the host has. It never takes back the host's word,
// which may come while the machine is paused in here.
//
//go:nosplit
func (h *hold) giveUp() {
	for {
		state := atomic.LoadUint32(&h.box.state)
		if state >= agentproto.MailboxGoOn {
			return
		}
		if atomic.CompareAndSwapUint32(&h.box.state, state, agentproto.MailboxGoOn) {
			h.gaveUp = true
			return
		}
	}
}

// takeOver gives the kernel what the host has put into the mailbox for a clone. The seed
// does not stay there.
//
//go:nosplit
func (h *hold) takeOver() {
	h.pool.size = agentproto.MailboxSeedSize
	*(*[agentproto.MailboxSeedSize]byte)(h.pool.bytes[:]) = h.box.seed
	h.box.seed = [agentproto.MailboxSeedSize]byte{}
	h.errno = h.pool.add(h.random)
	if ns := int64(h.box.clock); ns > 0 {
		now := unix.Timespec{Sec: ns / 1e9, Nsec: ns % 1e9}
		if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
			h.errno = errno
		}
	}
}

// monotonic is the clock by which spin goes, read into now.
//
//go:nosplit
func monotonic(now *unix.Timespec) int64 {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(now)), 0)
	return now.Sec*1e9 + now.Nsec
}
