package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/limits"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

// checkLimits makes a control group as a VM's start does, and removes it.
func checkLimits() finding {
	const withoutGroup = "nothing, unless quotas should be exact: run holt where it may make control groups, such as in `systemd-run --user --scope -p Delegate=yes`"
	g, err := limits.NewGroup("doctor", limits.Limits{CPUQuota: limits.Period, Memory: 1 << 30, Tasks: 64})
	if err != nil {
		return finding{"limits", statusNote, err.Error() + ": CPU quotas are kept by holding the vCPUs", withoutGroup}
	}
	defer func() { _ = g.Remove() }() // if it is still there, a later start sweeps it
	b, err := os.ReadFile(filepath.Join(g.Path(), "cgroup.controllers"))
	if err != nil {
		return finding{"limits", statusNote, err.Error(), withoutGroup}
	}
	return finding{Name: "limits", Status: statusOK, Found: "control groups with " + strings.Join(strings.Fields(string(b)), ", ")}
}

// checkData looks for room for kernels, images and the directories of VMs that stay.
func checkData(dirs paths.Dirs) finding {
	dir := dirs.Data
	for dir != "/" { // what is not there yet will be on the same file system
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return finding{"data", statusNote, dirs.Data, err.Error()}
	}
	free := st.Bavail * uint64(st.Bsize)
	f := finding{Name: "data", Status: statusOK, Found: fmt.Sprintf("%s (%d MiB free)", dirs.Data, free>>20)}
	if free < 1<<30 {
		f.Status, f.Do = statusNote, "free some space there (holt prune, holt kernel rm), or move Holt's files with HOLT_HOME"
	}
	return f
}

// checkClock looks at the host's clock: guests on KVM read the processor's counter as
// theirs only where the host trusts it, too.
func checkClock(p hypervisor.Probe) []finding {
	b, err := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	if err != nil || !p.Usable {
		return nil
	}
	clock := strings.TrimSpace(string(b))
	f := finding{Name: "clock", Status: statusOK, Found: clock}
	if clock != "tsc" {
		f.Status, f.Do = statusNote, "guests read the time more slowly than they could; see why the host does not use its TSC (dmesg | grep -i tsc)"
	}
	return []finding{f}
}

// checkVMs counts the VMs.
func checkVMs(dirs paths.Dirs) finding {
	all, err := state.Open(dirs).List()
	if err != nil {
		return finding{"vms", statusNote, "cannot be listed", err.Error()}
	}
	running, stopped, left := 0, 0, 0
	for _, d := range all {
		switch s, err := d.Status(); {
		case err != nil: // removed meanwhile
		case s.State.Live():
			running++
		case d.Record.Kept:
			stopped++
		default:
			left++
		}
	}
	f := finding{Name: "vms", Status: statusOK, Found: fmt.Sprintf("%d running, %d stopped", running, stopped)}
	if left > 0 {
		f.Status, f.Found, f.Do = statusNote, fmt.Sprintf("%s, %d left over", f.Found, left), "run `holt prune`"
	}
	return f
}
