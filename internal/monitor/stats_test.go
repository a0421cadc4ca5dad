package monitor

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/state"
	"github.com/holtvm/holt/internal/virtio/vsock"
	"github.com/holtvm/holt/internal/virtiotest"
)

// meteredVM is a machine with figures of its own and nothing else.
type meteredVM struct {
	hypervisor.VM

	stats hypervisor.Stats
	used  time.Duration
}

func (v *meteredVM) Stats() hypervisor.Stats { return v.stats }

func (v *meteredVM) CPUTime() time.Duration { return v.used }

var meteredSpec = Spec{ID: "0123456789ab", Name: "web", VCPUs: 2, MemoryBytes: 64 << 20}

// meteredAssembly has a disk, a shared directory and no network.
func meteredAssembly(t *testing.T) *assembly {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	a := &assembly{log: log, vsock: vsock.New(guestCID, log)}
	t.Cleanup(a.Close)
	var err error
	if a.files, err = fsserver.ProcessBudget(); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.addDisks(Spec{VCPUs: 1, Disks: []Disk{{Path: image}}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := a.addShares(Spec{VCPUs: 1, Shares: []Share{{Host: t.TempDir(), Guest: "/data"}}}); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCollect(t *testing.T) {
	a := meteredAssembly(t)
	m := newMeter(meteredSpec, &meteredVM{
		used:  3 * time.Millisecond,
		stats: hypervisor.Stats{Exits: map[string]uint64{"io": 4}, KernelExits: 9, KernelExitsByKind: map[string]uint64{"halt": 2}},
	}, a)
	m.agent = func(context.Context) (agentproto.GuestStats, error) {
		return agentproto.GuestStats{Processes: 5, UptimeMS: math.MaxInt64}, nil
	}
	// The guest reads a sector of its disk.
	q := virtiotest.Start(t, a.disks[0].dev, virtiotest.Options{}).Queue(0)
	q.Do(make([]byte, 16), 513)

	s := m.collect(t.Context(), state.Running)
	if s.ID != "0123456789ab" || s.Name != "web" || s.State != "running" || s.VCPUs != 2 || s.MemoryLimit != 64<<20 || s.CPUTime != 3*time.Millisecond || time.Since(s.Time) > time.Minute || s.Uptime < 0 {
		t.Errorf("machine: %+v", s)
	}
	if s.Guest == nil || s.Guest.Processes != 5 || s.Guest.Uptime < 290*365*24*time.Hour {
		t.Errorf("guest: %+v", s.Guest)
	}
	if s.Exits["io"] != 4 || s.KernelExits != 9 || s.KernelExitsByKind["halt"] != 2 {
		t.Errorf("exits: %v, %d, %v", s.Exits, s.KernelExits, s.KernelExitsByKind)
	}
	if want := (control.Disk{Name: "disk0", Reads: 1, ReadBytes: 512}); len(s.Disks) != 1 || s.Disks[0] != want {
		t.Errorf("disks: %+v, want %+v", s.Disks, want)
	}
	if len(s.Shares) != 1 || s.Shares[0].Path != "/data" || s.Network != nil {
		t.Errorf("shares %+v, network %+v", s.Shares, s.Network)
	}
	if s.HostMemory < s.MonitorMemory/2 || s.MonitorMemory < 1<<20 {
		t.Errorf("memory: %d bytes on the host, %d of these the monitor's", s.HostMemory, s.MonitorMemory)
	}
}

// TestCollectWithoutTheAgent: a guest that stands still costs a second and its own
// figures, no more.
func TestCollectWithoutTheAgent(t *testing.T) {
	a := meteredAssembly(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(meteredSpec, &meteredVM{}, a)
		m.agent = func(ctx context.Context) (agentproto.GuestStats, error) {
			<-ctx.Done()
			return agentproto.GuestStats{}, ctx.Err()
		}
		begin := time.Now()
		s := m.collect(t.Context(), state.Running)
		if took := time.Since(begin); took != agentTime || s.Uptime != agentTime {
			t.Errorf("took %v, uptime %v", took, s.Uptime)
		}
		if s.Guest != nil || s.VCPUs != 2 {
			t.Errorf("collected %+v", s)
		}
		begin = time.Now()
		if s = m.collect(t.Context(), state.Paused); time.Since(begin) != 0 || s.State != "paused" {
			t.Errorf("of a paused guest after %v: %+v", time.Since(begin), s)
		}
	})
}

// TestMeterAsksTheAgent: without a driver in the guest there is nobody to ask.
func TestMeterAsksTheAgent(t *testing.T) {
	m := newMeter(meteredSpec, &meteredVM{}, meteredAssembly(t))
	if _, err := m.agent(t.Context()); !errors.Is(err, vsock.ErrStopped) {
		t.Errorf("error %v, want %v", err, vsock.ErrStopped)
	}
}

// TestMemoryOf: memory that is touched shows, but as the monitor's own only if it is.
func TestMemoryOf(t *testing.T) {
	before, own := memoryOf(nil), ownMemory()
	const size = 64 << 20
	guest, err := guestmem.Map([]guestmem.Region{{Size: size}})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	bytes, err := guest.Slice(0, size)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += 4096 {
		bytes[i] = 1
	}
	if grown := int64(memoryOf(nil)) - int64(before); grown < size/2 {
		t.Errorf("%d bytes were touched and %d show", size, grown)
	}
	if grown := int64(ownMemory()) - int64(own); grown > size/2 {
		t.Errorf("the guest's memory shows as the monitor's own: %d bytes more", grown)
	}
	if all := memoryOf([]int{os.Getppid()}); all < size {
		t.Errorf("with a helper it is %d bytes", all)
	}
	if resident("0") != 0 || proportional("0") != 0 {
		t.Error("a process that is not there has memory")
	}
}
