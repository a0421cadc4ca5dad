package metrics

import (
	"maps"
	"slices"

	"github.com/holtvm/holt/internal/control"
)

// families are all metrics, in the order in which they are written.
var families = slices.Concat(ofMachine, ofGuest, ofNetwork, ofDisks, ofShares)

var ofMachine = []family{
	{"info", "A VM, with its state.", "state", func(s *control.Stats) []sample { return []sample{{s.State, 1}} }},
	{"uptime_seconds", "Time since the machine's start.", "", one(func(s *control.Stats) float64 { return s.Uptime.Seconds() })},
	{"vcpus", "Processors of the guest.", "", one(func(s *control.Stats) float64 { return float64(s.VCPUs) })},
	{"cpu_seconds_total", "Host processor time that the machine used.", "", one(func(s *control.Stats) float64 { return s.CPUTime.Seconds() })},
	{"monitor_cpu_seconds_total", "Host processor time that the monitor used beside the machine.", "", one(func(s *control.Stats) float64 { return s.MonitorCPUTime.Seconds() })},
	{"memory_limit_bytes", "Memory of the guest.", "", one(func(s *control.Stats) float64 { return float64(s.MemoryLimit) })},
	{"host_memory_bytes", "Host memory that the VM holds: guest, monitor and QEMU.", "", one(func(s *control.Stats) float64 { return float64(s.HostMemory) })},
	{"monitor_memory_bytes", "Host memory that the monitor holds for itself.", "", one(func(s *control.Stats) float64 { return float64(s.MonitorMemory) })},
	{"exits_total", "Exits of the vCPUs to the monitor, by kind.", "kind", func(s *control.Stats) []sample { return byLabel(s.Exits) }},
	{"kernel_exits_total", "All exits of the vCPUs, as KVM counts them.", "", func(s *control.Stats) []sample {
		if s.KernelExits == 0 { // emulated, or not told
			return nil
		}
		return []sample{{value: float64(s.KernelExits)}}
	}},
	{"kernel_exits_by_kind_total", "Exits of the vCPUs of some kinds, which may overlap, as KVM counts them.", "kind", func(s *control.Stats) []sample { return byLabel(s.KernelExitsByKind) }},
	{"vsock_connections_total", "Connections between monitor and guest.", "", one(func(s *control.Stats) float64 { return float64(s.Vsock.Connections) })},
	{"vsock_open_connections", "Connections between monitor and guest now.", "", one(func(s *control.Stats) float64 { return float64(s.Vsock.OpenConnections) })},
}

var ofGuest = []family{
	{"guest_up", "Whether the guest's agent answered.", "", func(s *control.Stats) []sample {
		if s.Guest == nil {
			return []sample{{value: 0}}
		}
		return []sample{{value: 1}}
	}},
	{"guest_cpu_seconds_total", "Processor time that the guest was not idle, as it says.", "", guest(func(g *control.Guest) float64 { return g.CPUTime.Seconds() })},
	{"guest_load1", "The guest's load average over one minute.", "", guest(func(g *control.Guest) float64 { return g.Load1 })},
	{"guest_memory_total_bytes", "Memory that the guest's kernel has.", "", guest(func(g *control.Guest) float64 { return float64(g.MemoryTotal) })},
	{"guest_memory_available_bytes", "Memory that the guest could give to programs.", "", guest(func(g *control.Guest) float64 { return float64(g.MemoryAvailable) })},
	{"guest_memory_free_bytes", "Memory that the guest uses for nothing.", "", guest(func(g *control.Guest) float64 { return float64(g.MemoryFree) })},
	{"guest_memory_cached_bytes", "Memory of the guest's page cache.", "", guest(func(g *control.Guest) float64 { return float64(g.MemoryCached) })},
	{"guest_swap_total_bytes", "Swap space of the guest.", "", guest(func(g *control.Guest) float64 { return float64(g.SwapTotal) })},
	{"guest_swap_free_bytes", "Swap space of the guest that is free.", "", guest(func(g *control.Guest) float64 { return float64(g.SwapFree) })},
	{"guest_root_total_bytes", "Size of the guest's root file system.", "", guest(func(g *control.Guest) float64 { return float64(g.RootTotal) })},
	{"guest_root_free_bytes", "Free space of the guest's root file system.", "", guest(func(g *control.Guest) float64 { return float64(g.RootFree) })},
	{"guest_processes", "Processes of the guest.", "", guest(func(g *control.Guest) float64 { return float64(g.Processes) })},
	{"guest_sessions", "Programs that the agent runs.", "", guest(func(g *control.Guest) float64 { return float64(g.Sessions) })},
	{"guest_oom_kills_total", "Processes that the guest killed for lack of memory.", "", guest(func(g *control.Guest) float64 { return float64(g.OOMKills) })},
}

var ofNetwork = []family{
	{"network_receive_bytes_total", "Bytes that the guest received.", "", network(func(n *control.Network) float64 { return float64(n.RxBytes) })},
	{"network_receive_frames_total", "Frames that the guest received.", "", network(func(n *control.Network) float64 { return float64(n.RxFrames) })},
	{"network_receive_dropped_total", "Frames for which the guest had no room.", "", network(func(n *control.Network) float64 { return float64(n.RxDropped) })},
	{"network_transmit_bytes_total", "Bytes that the guest sent.", "", network(func(n *control.Network) float64 { return float64(n.TxBytes) })},
	{"network_transmit_frames_total", "Frames that the guest sent.", "", network(func(n *control.Network) float64 { return float64(n.TxFrames) })},
	{"network_transmit_dropped_total", "Frames of the guest that made no sense or were forged.", "", network(func(n *control.Network) float64 { return float64(n.TxDropped) })},
	{"network_connections_total", "TCP connections that were established.", "", network(func(n *control.Network) float64 { return float64(n.Connections) })},
	{"network_open_connections", "TCP connections now.", "", network(func(n *control.Network) float64 { return float64(n.OpenConnections) })},
	{"network_denied_total", "What the network's policy refused, by reason.", "reason", func(s *control.Stats) []sample {
		if s.Network == nil {
			return nil
		}
		return byLabel(s.Network.Denied)
	}},
}

var ofDisks = []family{
	{"disk_reads_total", "Reads.", "disk", disks(func(d *control.Disk) uint64 { return d.Reads })},
	{"disk_read_bytes_total", "Bytes that were read.", "disk", disks(func(d *control.Disk) uint64 { return d.ReadBytes })},
	{"disk_writes_total", "Writes.", "disk", disks(func(d *control.Disk) uint64 { return d.Writes })},
	{"disk_written_bytes_total", "Bytes that were written.", "disk", disks(func(d *control.Disk) uint64 { return d.WrittenBytes })},
	{"disk_flushes_total", "Flushes.", "disk", disks(func(d *control.Disk) uint64 { return d.Flushes })},
	{"disk_discards_total", "Requests to discard blocks or to fill them with zeros.", "disk", disks(func(d *control.Disk) uint64 { return d.Discards })},
}

var ofShares = []family{
	{"share_requests_total", "Requests at a shared directory.", "path", shares(func(s *control.Share) uint64 { return s.Requests })},
	{"share_receive_bytes_total", "Bytes of answers to the guest.", "path", shares(func(s *control.Share) uint64 { return s.RxBytes })},
	{"share_transmit_bytes_total", "Bytes of the guest's requests.", "path", shares(func(s *control.Share) uint64 { return s.TxBytes })},
}

// one is a sample of every VM.
func one(value func(*control.Stats) float64) func(*control.Stats) []sample {
	return func(s *control.Stats) []sample { return []sample{{value: value(s)}} }
}

// guest is a sample of each VM whose agent answered.
func guest(value func(*control.Guest) float64) func(*control.Stats) []sample {
	return func(s *control.Stats) []sample {
		if s.Guest == nil {
			return nil
		}
		return []sample{{value: value(s.Guest)}}
	}
}

// network is a sample of each VM that has one.
func network(value func(*control.Network) float64) func(*control.Stats) []sample {
	return func(s *control.Stats) []sample {
		if s.Network == nil {
			return nil
		}
		return []sample{{value: value(s.Network)}}
	}
}

func disks(value func(*control.Disk) uint64) func(*control.Stats) []sample {
	return func(s *control.Stats) (list []sample) {
		for i := range s.Disks {
			list = append(list, sample{s.Disks[i].Name, float64(value(&s.Disks[i]))})
		}
		return list
	}
}

func shares(value func(*control.Share) uint64) func(*control.Stats) []sample {
	return func(s *control.Stats) (list []sample) {
		for i := range s.Shares {
			list = append(list, sample{s.Shares[i].Path, float64(value(&s.Shares[i]))})
		}
		return list
	}
}

// byLabel are the counts of a map, in the order of their names.
func byLabel(counts map[string]uint64) (list []sample) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, sample{name, float64(counts[name])})
	}
	return list
}
