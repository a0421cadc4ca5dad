package vmtest

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessTime is the processor time that a process has used, its ended threads
// included.
func ProcessTime(pid int) (time.Duration, error) {
	// The clock's number is made of the process's (clock_getcpuclockid(3)).
	const schedClock = 2 // CPUCLOCK_SCHED (Linux, include/linux/posix-timers.h)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// ProcessMemory is the resident memory of a process, in bytes, of the kind that a
// field of /proc/PID/status has: RssAnon or RssShmem (proc(5)).
func ProcessMemory(pid int, field string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			var kib int64
			if _, err := fmt.Sscanf(value, "%d kB", &kib); err != nil {
				return 0, fmt.Errorf("%s of process %d: %w", field, pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, field)
}
