package agent

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// onlineProcessors returns the numbers of the processors that run now.
func onlineProcessors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("list processors: %w", err)
	}
	var cpus []int
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) == 0 {
		return nil, errors.New("list processors: there is none")
	}
	return cpus, nil
}

// tryPriority says why this process can have no real-time priority.
func tryPriority() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := setPriority(0); err != nil {
		return fmt.Errorf("get a real-time priority: %w", err)
	}
	return unix.SchedSetAttr(0, &unix.SchedAttr{}, 0)
}

// holdPriority is the highest of real-time priorities: no program of the guest is above,
// but for those with a deadline of their own (sched(7)).
const holdPriority = 99

// setPriority puts a thread, 0 being the calling one, above all other programs. Threads
// that it starts are not.
func setPriority(tid int) error {
	return unix.SchedSetAttr(tid, &unix.SchedAttr{
		Policy: unix.SCHED_FIFO, Priority: holdPriority, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
}

// throttlingFile says how long real-time programs may run in each second, in
// microseconds; -1 is for ever (sched(7)).
const throttlingFile = "/proc/sys/kernel/sched_rt_runtime_us"

// suspendThrottling lets real-time programs run for ever until restore is called. Without
// that, Linux before 6.12 counts the time for which the host pauses the machine as theirs,
// and makes them wait for as long afterwards. A kernel that has no such limit needs none
// lifted.
func suspendThrottling(file string) (restore func()) {
	limit, err := os.ReadFile(file)
	if err != nil || writeSysctl(file, "-1") != nil {
		return func() {}
	}
	return func() {
		if err := writeSysctl(file, strings.TrimSpace(string(limit))); err != nil {
			complain("restore %s: %v", file, err)
		}
	}
}

// takeProcessor puts a thread on a processor, above all other programs. The priority
// comes first: with it the thread need not wait for its turn there.
func takeProcessor(tid, cpu int) error {
	if err := setPriority(tid); err != nil {
		return err
	}
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(tid, &set)
}

// leaveProcessor makes the calling thread one of many again. It ends soon, but for the
// first one of the process, which Go keeps.
func leaveProcessor() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{}, 0)
	var all unix.CPUSet
	all.Fill()
	_ = unix.SchedSetaffinity(0, &all)
}
