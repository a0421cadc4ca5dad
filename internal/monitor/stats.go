package monitor

import (
	"context"
	"io"
	"math"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/metrics"
	"github.com/holtvm/holt/internal/state"
	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtio/fs"
)

// agentTime is how long the agent may take to say what goes on in the guest: one that
// stands still has none, and the rest of the figures is wanted all the same.
const agentTime = time.Second

// attachedDisk is a disk's device, its serial and what is behind it.
type attachedDisk struct {
	name     string
	dev      *blk.Device
	image    diskImage
	readOnly bool
}

// diskImage is what a disk consists of on the host.
type diskImage interface {
	blk.Disk
	io.Closer
	// CopyTo writes the disk's content to an empty file.
	CopyTo(ctx context.Context, f *os.File) error
}

// attachedShare is a shared directory's device and its mount point in the guest.
type attachedShare struct {
	path string
	dev  *fs.Device
}

// serving reports whether the host is at work for a disk or a shared directory.
func (a *assembly) serving() bool {
	return slices.ContainsFunc(a.disks, func(d attachedDisk) bool { return d.dev.Pending() > 0 }) ||
		slices.ContainsFunc(a.shares, func(s attachedShare) bool { return s.dev.Pending() > 0 })
}

// figures are all figures of the VM. Before there is a machine, they are few.
func (i *instance) figures(ctx context.Context) control.Stats {
	i.mu.Lock()
	m, now := i.meter, i.status.State
	i.mu.Unlock()
	var s control.Stats
	if m == nil {
		s = i.spec.figures(now)
	} else {
		s = m.collect(ctx, now)
	}
	s.Name = i.name()
	return s
}

// figures are those of a VM of which no more than its state is known.
func (s Spec) figures(now state.State) control.Stats {
	return control.Stats{
		Time: time.Now(), ID: s.ID, Name: s.Name, State: string(now),
		VCPUs: s.VCPUs, MemoryLimit: s.MemoryBytes,
	}
}

func (i *instance) serveStats(w http.ResponseWriter, r *http.Request) {
	answer(w, i.figures(r.Context()))
}

func (i *instance) serveMetrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", metrics.ContentType)
	_ = metrics.Write(w, []control.Stats{i.figures(r.Context())}) // the client is gone
}

// meter tells what a running VM does and takes.
type meter struct {
	spec    Spec
	vm      hypervisor.VM
	asm     *assembly
	started time.Time
	agent   func(context.Context) (agentproto.GuestStats, error)
}

// newMeter makes a meter of the machine that was just started from a. It can still be
// asked when they have ended.
func newMeter(spec Spec, vm hypervisor.VM, a *assembly) *meter {
	return &meter{spec: spec, vm: vm, asm: a, started: time.Now(), agent: func(ctx context.Context) (agentproto.GuestStats, error) {
		conn, err := a.vsock.Dial(ctx, agentproto.ServicePort)
		if err != nil {
			return agentproto.GuestStats{}, err
		}
		return agentclient.Stats(ctx, conn)
	}}
}

// collect reads all figures of a VM in a state.
func (m *meter) collect(ctx context.Context, now state.State) control.Stats {
	s := m.spec.figures(now)
	if now.Allows(state.Use) {
		ctx, cancel := context.WithTimeout(ctx, agentTime)
		defer cancel()
		if g, err := m.agent(ctx); err == nil {
			s.Guest = guestFigures(g)
		}
	}
	// After the agent has had its time, so that what follows is of one moment.
	s.Time = time.Now()
	s.Uptime = s.Time.Sub(m.started)
	m.machine(&s)
	m.devices(&s)
	return s
}

// machine fills in what the hypervisor and the host know.
func (m *meter) machine(s *control.Stats) {
	machine, used, own := m.vm.Stats(), m.vm.CPUTime(), cpuTime()
	if len(machine.Processes) == 0 { // the machine is a part of this process
		own = max(own-used, 0)
	}
	s.CPUTime, s.MonitorCPUTime = used, own
	s.HostMemory, s.MonitorMemory = memoryOf(machine.Processes), ownMemory()
	s.Exits, s.KernelExits, s.KernelExitsByKind = machine.Exits, machine.KernelExits, machine.KernelExitsByKind
}

// devices fills in what the devices counted.
func (m *meter) devices(s *control.Stats) {
	v := m.asm.vsock.Counters()
	s.Vsock = control.Vsock{Connections: v.Connections, OpenConnections: v.Open}
	if n := m.asm.network; n != nil {
		s.Network = n.figures()
	}
	for _, d := range m.asm.disks {
		c := d.dev.Counters()
		s.Disks = append(s.Disks, control.Disk{
			Name: d.name, Reads: c.Reads, ReadBytes: c.ReadBytes, Writes: c.Writes, WrittenBytes: c.WrittenBytes,
			Flushes: c.Flushes, Discards: c.Discards,
		})
	}
	for _, d := range m.asm.shares {
		c := d.dev.Counters()
		s.Shares = append(s.Shares, control.Share{Path: d.path, Requests: c.Requests, RxBytes: c.ToGuest, TxBytes: c.FromGuest})
	}
}

// figures are the network's so far.
func (e *networkEnd) figures() *control.Network {
	s, card := e.network.Stats(), e.card.Counters()
	return &control.Network{
		RxBytes: s.ToGuest.Bytes, RxFrames: s.ToGuest.Frames, RxDropped: s.QueueDropped + card.RxDropped,
		TxBytes: s.FromGuest.Bytes, TxFrames: s.FromGuest.Frames, TxDropped: s.Malformed + s.Spoofed + card.TxDropped,
		Connections: s.Connections, OpenConnections: s.Active, Denied: s.Denied,
	}
}

// guestFigures are what the agent said.
func guestFigures(g agentproto.GuestStats) *control.Guest {
	return &control.Guest{
		Uptime: milliseconds(g.UptimeMS), CPUTime: milliseconds(g.CPUMS), IdleTime: milliseconds(g.IdleMS), Load1: g.Load1,
		MemoryTotal: uint64(g.MemTotal), MemoryAvailable: uint64(g.MemAvailable), MemoryFree: uint64(g.MemFree), MemoryCached: uint64(g.Cached),
		SwapTotal: uint64(g.SwapTotal), SwapFree: uint64(g.SwapFree), RootTotal: uint64(g.RootTotal), RootFree: uint64(g.RootFree),
		Processes: g.Processes, Sessions: g.Sessions, OOMKills: uint64(g.OOMKills),
	}
}

// milliseconds are n of them, or as many as there can be: the guest may say anything.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}
