package monitor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the processor time that this process used so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runDelay is how long a process's threads have waited for a processor, as far as this
// kernel counts that (schedstats, /proc/PID/task/TID/schedstat).
func runDelay(process string) (sum time.Duration) {
	files, _ := filepath.Glob("/proc/" + process + "/task/*/schedstat")
	for _, name := range files {
		var ran, waited int64
		if text, err := os.ReadFile(name); err == nil { // else it has ended
			_, _ = fmt.Sscan(string(text), &ran, &waited)
		}
		sum += time.Duration(waited)
	}
	return sum
}

// ownMemory is what this process's Go runtime holds, in bytes: guest memory is not in
// it.
func ownMemory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// memoryOf is what this process and its helpers hold of the host's memory, in bytes.
// Helpers have the guest's memory in common with this process; what processes share
// counts once.
func memoryOf(helpers []int) uint64 {
	if len(helpers) == 0 {
		return resident("self")
	}
	sum := proportional("self")
	for _, pid := range helpers {
		sum += proportional(strconv.Itoa(pid))
	}
	return sum
}

// resident is a process's memory that is there, shared or not (proc_pid_statm(5)).
// It is 0 for a process that has ended.
func resident(process string) uint64 {
	text, err := os.ReadFile("/proc/" + process + "/statm")
	if err != nil {
		return 0
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// proportional is as resident, with what the process shares divided among those who
// do (proc_pid_smaps(5), Pss). The kernel looks at each page table, so it takes
// milliseconds for a large guest.
func proportional(process string) uint64 {
	text, err := os.ReadFile("/proc/" + process + "/smaps_rollup")
	if err != nil {
		return resident(process)
	}
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(line, []byte("Pss:"))
		if !ok {
			continue
		}
		var kilobytes uint64
		if _, err := fmt.Sscanf(string(value), "%d kB", &kilobytes); err == nil {
			return kilobytes << 10
		}
	}
	return resident(process)
}
