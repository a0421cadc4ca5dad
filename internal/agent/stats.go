package agent

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// stats is the state of the guest, by the procfs at proc.
func (a *agent) stats(proc string) (agentproto.GuestStats, error) {
	s := agentproto.GuestStats{UptimeMS: uptime().Milliseconds(), Sessions: a.sessions.running()}
	for name, parse := range map[string]func(string, *agentproto.GuestStats){
		"stat": parseCPU, "loadavg": parseLoad, "meminfo": parseMemory, "vmstat": parseEvents,
	} {
		b, err := readSmall(filepath.Join(proc, name), maxProcFile)
		if err != nil {
			return s, fmt.Errorf("state of the guest: %w", err)
		}
		parse(string(b), &s)
	}
	if err := eachProcess(proc, func(string, procStat) { s.Processes++ }); err != nil {
		return s, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return s, fmt.Errorf("state of the root file system: %w", err)
	}
	s.RootTotal, s.RootFree = int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	return s, nil
}

// parseCPU reads /proc/stat (proc_stat(5)), whose first line adds up all processors:
// user, nice, system, idle, iowait, irq, softirq and so on, in ticks. Time that the
// host did not give (steal) is neither busy nor idle, and that of guests of this guest
// is in user and nice.
func parseCPU(stat string, s *agentproto.GuestStats) {
	line, _, _ := strings.Cut(stat, "\n")
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return
	}
	for i, text := range f[1:8] {
		n, _ := strconv.ParseInt(text, 10, 64)
		ms := n * 1000 / ticksPerSecond
		if isIdle := i == 3 || i == 4; isIdle {
			s.IdleMS += ms
		} else {
			s.CPUMS += ms
		}
	}
}

// parseLoad reads /proc/loadavg (proc_loadavg(5)).
func parseLoad(loadavg string, s *agentproto.GuestStats) {
	first, _, _ := strings.Cut(loadavg, " ")
	s.Load1, _ = strconv.ParseFloat(first, 64)
}

// parseMemory reads /proc/meminfo (proc_meminfo(5)), in KiB.
func parseMemory(meminfo string, s *agentproto.GuestStats) {
	for key, n := range values(meminfo) {
		n *= 1024
		switch key {
		case "MemTotal:":
			s.MemTotal = n
		case "MemAvailable:":
			s.MemAvailable = n
		case "MemFree:":
			s.MemFree = n
		case "Cached:":
			s.Cached = n
		case "SwapTotal:":
			s.SwapTotal = n
		case "SwapFree:":
			s.SwapFree = n
		}
	}
}

// parseEvents reads /proc/vmstat.
func parseEvents(vmstat string, s *agentproto.GuestStats) {
	for key, n := range values(vmstat) {
		if key == "oom_kill" {
			s.OOMKills = n
		}
	}
}

// values yields the lines of a table of names and numbers.
func values(table string) func(yield func(string, int64) bool) {
	return func(yield func(string, int64) bool) {
		for line := range strings.Lines(table) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil && !yield(f[0], n) {
				return
			}
		}
	}
}
