package holt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/metrics"
)

// Stats is what a VM does and takes. What is counted begins with the VM's start and
// only grows. In JSON, units are a part of the names.
type Stats struct {
	Time  time.Time `json:"time"`
	ID    string    `json:"id"`
	Name  string    `json:"name,omitempty"`
	State State     `json:"state"`

	Uptime time.Duration `json:"uptime_ns"` // since the machine's start
	VCPUs  int           `json:"vcpus"`
	// CPUTime is the time of the host's processors that the machine used: its vCPUs
	// and, under QEMU, what emulates them. MonitorCPUTime is what its monitor used
	// beside that, for devices and the network. A monitor in this process ([InProcess])
	// counts the whole process.
	CPUTime        time.Duration `json:"cpu_time_ns"`
	MonitorCPUTime time.Duration `json:"monitor_cpu_time_ns"`

	// Memory is in bytes. MemoryLimit is what the guest was given; HostMemory what the
	// VM really holds of the host's memory: what the guest has touched and not given
	// back, the monitor, and QEMU. MonitorMemory is the part that the monitor holds
	// for itself.
	MemoryLimit   uint64 `json:"memory_limit_bytes"`
	HostMemory    uint64 `json:"host_memory_bytes"`
	MonitorMemory uint64 `json:"monitor_memory_bytes"`

	// Guest is what the guest says of itself; nil if its agent did not answer within a
	// second, as when the VM is paused.
	Guest   *GuestStats   `json:"guest,omitempty"`
	Network *NetworkStats `json:"network,omitempty"` // nil without a network
	Disks   []DiskStats   `json:"disks,omitempty"`
	Shares  []ShareStats  `json:"shares,omitempty"` // a root directory is one, too
	Vsock   VsockStats    `json:"vsock"`

	// Exits counts the exits of the guest's processors to the monitor, by kind in KVM's
	// words ("io", "mmio"). KernelExits are all that KVM counted, and KernelExitsByKind
	// some of these ("halt", "irq"), which may overlap. Under emulation there are none.
	Exits             map[string]uint64 `json:"exits,omitempty"`
	KernelExits       uint64            `json:"kernel_exits,omitempty"`
	KernelExitsByKind map[string]uint64 `json:"kernel_exits_by_kind,omitempty"`
}

// GuestStats is what a guest says of itself. Nothing of it need be true. Memory and
// space are in bytes.
type GuestStats struct {
	Uptime          time.Duration `json:"uptime_ns"`
	CPUTime         time.Duration `json:"cpu_time_ns"`  // in which a processor was busy
	IdleTime        time.Duration `json:"idle_time_ns"` // of all processors together
	Load1           float64       `json:"load1"`        // load average of one minute
	MemoryTotal     uint64        `json:"memory_total_bytes"`
	MemoryAvailable uint64        `json:"memory_available_bytes"` // to programs
	MemoryFree      uint64        `json:"memory_free_bytes"`      // of use to nobody
	MemoryCached    uint64        `json:"memory_cached_bytes"`    // content of files
	SwapTotal       uint64        `json:"swap_total_bytes"`
	SwapFree        uint64        `json:"swap_free_bytes"`
	RootTotal       uint64        `json:"root_total_bytes"` // of the root's file system
	RootFree        uint64        `json:"root_free_bytes"`
	Processes       int           `json:"processes"` // but for the kernel's
	Sessions        int           `json:"sessions"`  // programs that [VM.Exec] started and that run
	OOMKills        uint64        `json:"oom_kills"` // processes killed for lack of memory
}

// NetworkStats is what went over a guest's network, as the guest sees it.
type NetworkStats struct {
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

// DiskStats is what was done with one disk. Requests that failed do not count.
type DiskStats struct {
	Name         string `json:"name"` // its serial in the guest: root, disk0, disk1…
	Reads        uint64 `json:"reads"`
	ReadBytes    uint64 `json:"read_bytes"`
	Writes       uint64 `json:"writes"`
	WrittenBytes uint64 `json:"written_bytes"`
	Flushes      uint64 `json:"flushes"`
	Discards     uint64 `json:"discards"` // and requests to fill blocks with zeros
}

// ShareStats is what was done with one shared directory. Bytes are those of whole
// requests and answers.
type ShareStats struct {
	Path     string `json:"path"` // in the guest
	Requests uint64 `json:"requests"`
	RxBytes  uint64 `json:"rx_bytes"` // to the guest
	TxBytes  uint64 `json:"tx_bytes"`
}

// VsockStats are the connections between a guest and its monitor.
type VsockStats struct {
	Connections     uint64 `json:"connections"`
	OpenConnections int    `json:"open_connections"` // now
}

// Stats says what the VM does and takes now. Without a monitor, which a VM has from its
// start to its end, there is nothing to say: a *StateError.
func (vm *VM) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	err := vm.figures(ctx, &s)
	return s, err
}

// figuresTime is how long a monitor may take to say something: one that stands still
// must not keep the figures of all others back.
const figuresTime = 5 * time.Second

// figures gets the VM's control.Stats, in whichever type has its form.
func (vm *VM) figures(ctx context.Context, into any) error {
	c, err := vm.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, figuresTime)
	defer cancel()
	return vm.refused(control.PathStats, c.Get(ctx, control.PathStats, into))
}

// WriteMetrics writes what VMs do and take for Prometheus, in its text format. Each
// metric has the labels vm, the VM's name or else its ID, and id. VMs that are not
// running are left out. What is the matter with a VM keeps none of the others from
// being written.
func WriteMetrics(ctx context.Context, w io.Writer, vms ...*VM) error {
	all, errs := make([]control.Stats, len(vms)), make([]error, len(vms))
	var wg sync.WaitGroup
	for i, vm := range vms {
		wg.Go(func() { errs[i] = vm.figures(ctx, &all[i]) })
	}
	wg.Wait()
	var running []control.Stats
	for i := range all {
		switch {
		case errs[i] == nil:
			running = append(running, all[i])
		case errors.Is(errs[i], ErrNotRunning):
			errs[i] = nil
		default:
			errs[i] = fmt.Errorf("VM %s: %w", vms[i].Name(), errs[i])
		}
	}
	return errors.Join(append(errs, metrics.Write(w, running))...)
}
