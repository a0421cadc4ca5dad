package control

import "time"

// Stats is what a VM does and takes: the answer to PathStats. What is counted begins
// with the VM's start and only grows. holt.Stats has the same form in JSON.
type Stats struct {
	Time  time.Time `json:"time"`
	ID    string    `json:"id"`
	Name  string    `json:"name,omitempty"`
	State string    `json:"state"`

	Uptime  time.Duration `json:"uptime_ns"` // since the machine's start
	VCPUs   int           `json:"vcpus"`
	CPUTime time.Duration `json:"cpu_time_ns"` // of the host's processors, by the machine
	// MonitorCPUTime is what the monitor's process used beside that.
	MonitorCPUTime time.Duration `json:"monitor_cpu_time_ns"`

	MemoryLimit uint64 `json:"memory_limit_bytes"` // the guest's memory
	// HostMemory is what the VM holds of the host's memory: what the guest has touched,
	// the monitor, and QEMU. Memory that these share counts once. MonitorMemory is the
	// part that the monitor holds for itself.
	HostMemory    uint64 `json:"host_memory_bytes"`
	MonitorMemory uint64 `json:"monitor_memory_bytes"`

	Guest   *Guest   `json:"guest,omitempty"` // nil when the agent did not answer in time
	Network *Network `json:"network,omitempty"`
	Disks   []Disk   `json:"disks,omitempty"`
	Shares  []Share  `json:"shares,omitempty"`
	Vsock   Vsock    `json:"vsock"`

	// Exits are the vCPUs' exits to the monitor, by kind; KernelExits all that KVM
	// counted, and KernelExitsByKind some of these, which may overlap. Under
	// emulation there are none.
	Exits             map[string]uint64 `json:"exits,omitempty"`
	KernelExits       uint64            `json:"kernel_exits,omitempty"`
	KernelExitsByKind map[string]uint64 `json:"kernel_exits_by_kind,omitempty"`
}

// Guest is what the guest says of itself. Nothing of it need be true.
type Guest struct {
	Uptime          time.Duration `json:"uptime_ns"`
	CPUTime         time.Duration `json:"cpu_time_ns"` // in which a processor was busy
	IdleTime        time.Duration `json:"idle_time_ns"`
	Load1           float64       `json:"load1"` // over one minute
	MemoryTotal     uint64        `json:"memory_total_bytes"`
	MemoryAvailable uint64        `json:"memory_available_bytes"` // to programs
	MemoryFree      uint64        `json:"memory_free_bytes"`      // of use to nobody
	MemoryCached    uint64        `json:"memory_cached_bytes"`    // content of files
	SwapTotal       uint64        `json:"swap_total_bytes"`
	SwapFree        uint64        `json:"swap_free_bytes"`
	RootTotal       uint64        `json:"root_total_bytes"` // of the root's file system
	RootFree        uint64        `json:"root_free_bytes"`
	Processes       int           `json:"processes"` // but for the kernel's
	Sessions        int           `json:"sessions"`  // programs of exec that run
	OOMKills        uint64        `json:"oom_kills"`
}

// Network is what went over the guest's network, as the guest sees it.
type Network struct {
	RxBytes         uint64 `json:"rx_bytes"`
	RxFrames        uint64 `json:"rx_frames"`
	RxDropped       uint64 `json:"rx_dropped"` // frames for which the guest had no room
	TxBytes         uint64 `json:"tx_bytes"`
	TxFrames        uint64 `json:"tx_frames"`
	TxDropped       uint64 `json:"tx_dropped"`       // frames that made no sense, or were forged
	Connections     uint64 `json:"connections"`      // over TCP, both ways
	OpenConnections int    `json:"open_connections"` // now
	// Denied counts what the network's policy refused, by reason.
	Denied map[string]uint64 `json:"denied,omitempty"`
}

// Disk is what was done with one disk. Requests that failed do not count.
type Disk struct {
	Name         string `json:"name"`
	Reads        uint64 `json:"reads"`
	ReadBytes    uint64 `json:"read_bytes"`
	Writes       uint64 `json:"writes"`
	WrittenBytes uint64 `json:"written_bytes"`
	Flushes      uint64 `json:"flushes"`
	Discards     uint64 `json:"discards"` // and requests to fill blocks with zeros
}

// Share is what was done with one shared directory. Bytes are of whole messages.
type Share struct {
	Path     string `json:"path"` // in the guest
	Requests uint64 `json:"requests"`
	RxBytes  uint64 `json:"rx_bytes"` // to the guest
	TxBytes  uint64 `json:"tx_bytes"`
}

// Vsock is about the connections between the monitor and the guest.
type Vsock struct {
	Connections     uint64 `json:"connections"`
	OpenConnections int    `json:"open_connections"` // now
}
