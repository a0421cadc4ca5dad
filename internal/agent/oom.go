package agent

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killedForMemory reports whether the kernel's log, at path, says that the kernel
// killed a process for lack of memory. It is asked for few programs only, and names
// the process, unlike the count in /proc/vmstat. But the log is short, and a kernel
// may have none.
func killedForMemory(path string, pid int) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	record := make([]byte, 8<<10) // a read gives one record, of at most so much
	for range 100_000 {           // more than a log holds
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // the record was overwritten
		case err != nil || n <= 0:
			return false
		case isOOMKill(string(record[:n]), pid):
			return true
		}
	}
	return false
}

// isOOMKill reports whether a record of /dev/kmsg is the kernel's about killing a
// process: "PRIORITY,SEQUENCE,TIME,-;Out of memory: Killed process PID (NAME) …".
func isOOMKill(record string, pid int) bool {
	head, text, _ := strings.Cut(record, ";")
	priority, _, _ := strings.Cut(head, ",")
	n, err := strconv.Atoi(priority)
	// What is above the three bits of the level is the facility: 0 is the kernel.
	return err == nil && n < 8 && strings.Contains(text, "Killed process "+strconv.Itoa(pid)+" (")
}
