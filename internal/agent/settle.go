package agent

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settleTimeout is how long processes that were killed may take to let go of their
// files.
const settleTimeout = time.Second

// settle writes back what is not on the disks yet, and leaves their file systems
// clean, as if unmounted. Every other process was killed before.
func settle() {
	unix.Sync()
	if os.Getpid() != 1 {
		return // a test: these are the disks of somebody else
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return // the guest took /proc away: journals take care
	}
	end := time.Now().Add(settleTimeout)
	for _, target := range diskMounts(string(mounts)) {
		for {
			err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
			if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

// diskMounts are where block devices are mounted so that they can be written, by
// /proc/self/mounts, the last that was mounted first.
func diskMounts(mounts string) []string {
	var targets []string
	for line := range strings.Lines(mounts) {
		// source, target, type, options (fstab(5))
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "/dev/") || !slices.Contains(strings.Split(f[3], ","), "rw") {
			continue
		}
		targets = append(targets, unescape(f[1]))
	}
	slices.Reverse(targets)
	return targets
}

// unescape undoes what the kernel does to white space and backslashes: a backslash
// and three octal digits stand for a byte.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8)
		if err != nil || len(after) < 3 {
			b.WriteByte('\\')
			s = after
			continue
		}
		b.WriteByte(byte(n))
		s = after[3:]
	}
}
