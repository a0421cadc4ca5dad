package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

// usage is processor time.
type usage struct {
	guest  time.Duration // of the vCPU
	device time.Duration // of all else
}

// usageOf is what a QEMU with one vCPU has used, and a device's server if there is
// one.
func usageOf(qemu int, s *server) (u usage, err error) {
	if u.guest, err = vcpuTime(qemu); err != nil {
		return u, err
	}
	if u.device, err = vmtest.ProcessTime(qemu); err != nil {
		return u, err
	}
	u.device -= u.guest
	if s == nil {
		return u, nil
	}
	served, err := vmtest.ProcessTime(s.cmd.Process.Pid)
	u.device += served
	return u, err
}

func (u usage) minus(v usage) usage { return usage{u.guest - v.guest, u.device - v.device} }

// vcpuTime is the processor time of QEMU's vCPU, whose thread has the name that
// debug-threads=on gives it.
func vcpuTime(qemu int) (time.Duration, error) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", qemu))
	if err != nil {
		return 0, err
	}
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(name), "CPU 0/") {
			continue // another thread, maybe one that has just ended
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(path), "schedstat"))
		if err != nil {
			return 0, err
		}
		// Linux, Documentation/scheduler/sched-stats.rst: first the time, in ns.
		first, _, _ := strings.Cut(string(stat), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		return time.Duration(ns), err
	}
	return 0, fmt.Errorf("process %d has no thread of a vCPU", qemu)
}

// switches is how often the threads of a process have gone to sleep so far, to be
// woken.
func switches(pid int) (n int, err error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has just ended
		}
		_, rest, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		var of int
		if _, err := fmt.Sscan(rest, &of); err != nil {
			return 0, fmt.Errorf("%s: %w", list, err)
		}
		n += of
	}
	return n, nil
}
