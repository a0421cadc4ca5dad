package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/holtvm/holt"
)

// printStats prints a table. What is told per time is so since the look before.
func printStats(out io.Writer, before map[string]holt.Stats, now []holt.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tCPU %\tHOST MEM / LIMIT\tGUEST USED\tNET I/O\tDISK I/O\tEXITS/S\tPIDS")
	for _, s := range now {
		name := s.Name
		if name == "" {
			name = s.ID
		}
		cpu, exits := rates(before[s.ID], s)
		used, processes := "-", "-"
		if g := s.Guest; g != nil {
			used, processes = humanBytes(g.MemoryTotal-min(g.MemoryTotal, g.MemoryAvailable)), strconv.Itoa(g.Processes)
		}
		network, disks := "-", "-"
		if n := s.Network; n != nil {
			network = humanBytes(n.RxBytes) + " / " + humanBytes(n.TxBytes)
		}
		if len(s.Disks) > 0 {
			var read, written uint64
			for _, d := range s.Disks {
				read, written = read+d.ReadBytes, written+d.WrittenBytes
			}
			disks = humanBytes(read) + " / " + humanBytes(written)
		}
		memory := humanBytes(s.HostMemory) + " / " + humanBytes(s.MemoryLimit)
		fmt.Fprintln(w, strings.Join([]string{name, string(s.State), cpu, memory, used, network, disks, exits, processes}, "\t"))
	}
	return w.Flush()
}

// rates are the processor time and the exits of a VM between two looks: in percent of
// one processor, and per second. They are "-" for a VM that was not there before, was
// started anew, or has no exits.
func rates(was, now holt.Stats) (cpu, exits string) {
	if was.Time.IsZero() || now.Uptime < was.Uptime || !now.Time.After(was.Time) {
		return "-", "-"
	}
	took := now.Time.Sub(was.Time).Seconds()
	used := now.CPUTime + now.MonitorCPUTime - was.CPUTime - was.MonitorCPUTime
	cpu, exits = fmt.Sprintf("%.1f", 100*max(used.Seconds(), 0)/took), "-"
	if n := exitsOf(now); n > 0 {
		exits = fmt.Sprintf("%.0f", float64(n-min(n, exitsOf(was)))/took)
	}
	return cpu, exits
}

// exitsOf are a VM's exits so far: all that KVM counted, or those that came to the
// monitor.
func exitsOf(s holt.Stats) uint64 {
	if s.KernelExits > 0 {
		return s.KernelExits
	}
	var n uint64
	for _, count := range s.Exits {
		n += count
	}
	return n
}

// humanBytes writes a number of bytes for people: three digits at least, and a unit.
func humanBytes(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f%ciB", value, units[unit])
}
