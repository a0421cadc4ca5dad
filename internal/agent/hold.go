package agent

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// hold occupies all processors of the guest, so that no program runs, with a thread on
// each that has the highest priority and spins. One of them is Go's: the leader, which
// talks to the host. The others are threads that Go does not know (holder_amd64.s). They
// need nothing of its runtime, which could not go on with all of its own threads spinning,
// nor collect garbage.
//
// They get ready behind a gate, asleep, and when it opens they wake at once, each on its
// processor and before all programs. Go's scheduler could take the leader off its thread
// wherever a function begins, or a signal arrives; so it blocks signals, and what it does
// behind the gate (hold_unsafe.go) begins no function that could notice.
type hold struct {
	mailbox
	// cpus are the processors: those that online returned. place gives one to a thread,
	// by its id; 0 is the calling one.
	cpus   []int
	online func() ([]int, error)
	place  func(tid, cpu int) error
	// timeout is agentproto.FreezeTimeout, in nanoseconds.
	timeout int64
	// random is /dev/urandom.
	random int

	gate    *holdGate
	started uint32 // holders
	gaveUp  bool   // the agent let go, not the host
	pool    entropy
	errno   unix.Errno // of what a clone was told
}

// holdGate is what the leader and the holders share.
type holdGate struct {
	state   uint32 // gateShut and so on. A futex
	arrived uint32 // holders that are through, and have their processors
	release uint32 // set when they are to go
	left    uint32 // holders that look at this no more
}

// The states of a gate.
const (
	gateShut uint32 = iota
	gateOpen
	gateVoid // there is nothing to hold: the holders go
)

// newHold prepares to hold the programs of this guest. It fails if that cannot be done:
// the kernel tells no physical addresses, or the agent may not have a processor for
// itself. The caller closes it.
func newHold() (*hold, error) {
	h := &hold{online: onlineProcessors, place: takeProcessor, timeout: int64(agentproto.FreezeTimeout), gate: &holdGate{}}
	var err error
	if h.cpus, err = h.online(); err != nil {
		return nil, err
	}
	if err := tryPriority(); err != nil {
		return nil, err
	}
	if h.random, err = unix.Open("/dev/urandom", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open /dev/urandom: %w", err)
	}
	if h.mailbox, err = newMailbox(); err != nil {
		_ = unix.Close(h.random)
		return nil, err
	}
	return h, nil
}

func (h *hold) close() {
	_ = unix.Close(h.random)
	h.mailbox.close()
}

// run holds all programs until the host says how to go on. It fails if they were not
// held, or not until then, or if what a clone was told could not be taken over.
func (h *hold) run() error {
	done := make(chan error)
	go func() {
		// The thread is not given back, so it ends with the goroutine.
		runtime.LockOSThread()
		defer leaveProcessor()
		done <- h.lead()
	}()
	err := <-done
	for atomic.LoadUint32(&h.gate.left) < h.started {
		time.Sleep(time.Millisecond)
	}
	switch {
	case err != nil:
		return err
	case h.gaveUp:
		return errors.New("the host took too long, a processor could not be had, or memory was moved")
	case h.errno != 0:
		return fmt.Errorf("take over the clone's seed and clock: %w", h.errno)
	}
	return nil
}

// lead starts the holders and is the last of the threads.
func (h *hold) lead() error {
	if err := h.prepare(); err != nil {
		h.open(gateVoid)
		return err
	}
	h.occupy(new(unix.Timespec))
	return nil
}

func (h *hold) prepare() error {
	if cpus, err := h.online(); err != nil || !slices.Equal(cpus, h.cpus) {
		return errors.Join(errors.New("the guest has other processors now"), err)
	}
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	// The holders inherit this: they could handle no signal.
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	// First, so that no program comes in between.
	if err := h.place(0, h.cpus[0]); err != nil {
		return fmt.Errorf("take processor %d: %w", h.cpus[0], err)
	}
	for _, cpu := range h.cpus[1:] {
		tid := startHolder(h.gate)
		if tid < 0 {
			return fmt.Errorf("start a thread: %w", unix.Errno(-tid))
		}
		h.started++
		if err := h.place(int(tid), cpu); err != nil {
			return fmt.Errorf("take processor %d: %w", cpu, err)
		}
	}
	return nil
}
