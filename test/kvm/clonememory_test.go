//go:build kvm

package kvm

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

// unique is the memory that a process has for itself, in KiB, by kind.
type unique struct{ guest, monitor, program int64 }

func (u unique) String() string {
	return fmt.Sprintf("%d KiB of guest pages, %d of the monitor's own memory, %d of its program file", u.guest, u.monitor, u.program)
}

// uniqueMemory reads what a monitor has for itself (proc_pid_smaps(5)). Of guest memory
// that are copies of pages; what is mapped from the file is the file's, whoever else
// has looked at it.
func uniqueMemory(t *testing.T, pid int) (u unique) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	into := &u.monitor
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case !strings.HasSuffix(fields[0], ":"): // a mapping
			into = &u.monitor
			if name := strings.Join(fields[5:], " "); strings.Contains(name, "guest-memory") {
				into = &u.guest
			} else if strings.HasPrefix(name, "/") {
				into = &u.program
			}
		case into == &u.guest && fields[0] == "Anonymous:" || into != &u.guest && strings.HasPrefix(fields[0], "Private_"):
			var kib int64
			if _, err := fmt.Sscan(fields[1], &kib); err != nil {
				t.Fatal(err)
			}
			*into += kib
		}
	}
	return u
}

// TestCloneMemory: a fork that does nothing has next to no memory of its own.
func TestCloneMemory(t *testing.T) {
	vmtest.Home(t)
	const limit = 5 << 10 // KiB; 3 MiB are the goal, see SPEC.md
	vm := sleeperIn(t, vmtest.DebianRoot(t), 256)
	time.Sleep(5 * time.Second) // until it is idle, and has told which pages are free
	n := vmtest.Times(50, 6)
	clones := fork(t, vm, n)
	time.Sleep(3 * time.Second) // until they are idle
	var sum unique
	for _, clone := range clones {
		info, err := clone.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u := uniqueMemory(t, info.MonitorPID)
		sum.guest, sum.monitor, sum.program = sum.guest+u.guest, sum.monitor+u.monitor, sum.program+u.program
	}
	count := int64(n)
	mean := unique{sum.guest / count, sum.monitor / count, sum.program / count}
	t.Logf("each of %d forks has %v", n, mean)
	if all := mean.guest + mean.monitor + mean.program; all >= limit {
		t.Errorf("each of %d forks has %d KiB for itself: %v; at most %d are wanted", n, all, mean, limit)
	}
}
