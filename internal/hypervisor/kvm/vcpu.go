package kvm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/kvmapi"
)

// vcpu is a virtual CPU and the thread that runs it.
type vcpu struct {
	id      int
	api     *kvmapi.VCPU
	cpuid   cpuid        // what its guest was shown
	exits   exitCount    // those that came to us
	stats   *os.File     // KVM's counters of all; nil if it has none
	tid     atomic.Int32 // 0 before the thread has begun and after it has ended
	cpuTime atomic.Int64 // nanoseconds; the thread's, once it has ended
}

// run enters the guest again and again until the machine ends. It is the whole
// life of a thread: the thread is not given back.
func (m *machine) run(c *vcpu) {
	runtime.LockOSThread()
	c.tid.Store(int32(unix.Gettid()))
	defer func() {
		c.cpuTime.Store(int64(threadTime(c.tid.Load())))
		c.tid.Store(0)
		m.gate.leave()
	}()
	for m.gate.enter(func() { c.api.SetImmediateExit(false) }) {
		if err := m.begin(); err != nil {
			m.end(ending{kind: failed, err: err})
			return
		}
		if !m.serve(c) {
			return
		}
	}
}

// serve runs the guest and answers its exits until it is interrupted: by a kick,
// for which the gate is closed, or by a signal of Go's own. The gate is looked at
// only then. After an exit the state of a vCPU is not whole: what the guest did at
// a port or a device is finished by the next run (api.rst, 5), which after a kick
// does no more than that. It reports whether the vCPU goes on.
func (m *machine) serve(c *vcpu) bool {
	for {
		switch err := c.api.Run(); {
		case err == nil:
			if !m.exit(c) {
				return false
			}
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // or the guest has not started this vCPU yet
			return true
		default:
			m.end(ending{kind: failed, err: fmt.Errorf("vCPU %d: run: %w", c.id, err)})
			return false
		}
	}
}

// kick makes a thread that is in the guest come out of it, or not go in. Whoever
// kicks has closed the gate before, so that it does not go in again.
func (c *vcpu) kick() {
	c.api.SetImmediateExit(true)
	if tid := c.tid.Load(); tid != 0 {
		// Go's runtime takes SIGURG for one of its own, finds nothing to do, and
		// goes on: all that is wanted is that the system call ends. A thread that
		// ended meanwhile is no error.
		_ = unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
	}
}

// kick makes every vCPU come out of the guest. The gate is closed, or finished.
func (m *machine) kick() {
	for _, c := range m.vcpus {
		c.kick()
	}
}

// used is the processor time of the vCPU's thread so far.
func (c *vcpu) used() time.Duration {
	if tid := c.tid.Load(); tid != 0 {
		if t := threadTime(tid); t != 0 {
			return t
		}
	}
	return time.Duration(c.cpuTime.Load())
}

// threadTime is a thread's processor time, the guest's included; 0 if there is
// no such thread.
func threadTime(tid int32) time.Duration {
	const perThread, schedClock = 4, 2 // CPUCLOCK_PERTHREAD_MASK, CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(^tid<<3|perThread|schedClock, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
