package agent

import "golang.org/x/sys/unix"

// spin returns *word once that is at least least, or once the monotonic clock is at
// deadline, in nanoseconds; now is where it reads the clock to. It never lets go of its
// thread: Go's scheduler cannot take a goroutine out of assembly, as it can out of a loop
// in Go.
//
//go:noescape
func spin(word *uint32, least uint32, deadline int64, now *unix.Timespec) uint32

// startHolder starts a thread that waits at the gate until that is no longer shut. If it is open
// then, the thread counts itself as arrived and spins until release is set. Then, or at
// once if the gate is void, it counts itself as left and ends. A bound on its turns, of
// which each takes some nanoseconds, ends it after many seconds, should nobody release it.
//
// The thread uses nothing but registers and the gate, which must not move: no stack, and so no
// signals, which the caller must have blocked. tid is the thread's id, or the negative of
// an error number.
func startHolder(at *holdGate) (tid int32)
