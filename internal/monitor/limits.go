package monitor

import (
	"context"
	"log/slog"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/limits"
)

const (
	// hostMemory is what a VM may take of the host's memory beside the guest's, in
	// bytes. Most of it is for QEMU, which keeps up to 1 GiB of translated code
	// when it emulates.
	hostMemory = 1536 << 20

	// hostTasks bounds a VM's processes and threads on the host. Go ends a program
	// that gets no more threads, so it is far above what is needed: one for each
	// request at a shared directory under way.
	hostTasks = 4096
)

// Limits is what the control group of the VM's monitor may use.
func (s Spec) Limits() limits.Limits {
	// A snapshot of changes has memory twice, until the guest goes on from the copy; for
	// forks, which last longer, there is more when they are made.
	return limits.Limits{CPUQuota: s.cpuQuota(), Memory: 2*s.MemoryBytes + hostMemory, Tasks: hostTasks}
}

// cpuQuota is the processor time that the vCPUs may use in each limits.Period; 0 if
// that is as much as they can.
func (s Spec) cpuQuota() time.Duration {
	if s.CPUQuotaUS >= uint64(s.VCPUs)*uint64(limits.Period.Microseconds()) {
		return 0
	}
	return time.Duration(s.CPUQuotaUS) * time.Microsecond
}

// limitCPU sees to it that vm keeps to its quota of processor time until stop is
// called. The control group of this process does so, or else we.
func limitCPU(s Spec, vm hypervisor.VM, log *slog.Logger) (stop func()) {
	quota := s.cpuQuota()
	if s.ControlGroup != "" {
		log.Debug("a control group limits the VM", "path", s.ControlGroup)
	}
	switch {
	case quota == 0:
		return func() {}
	case s.ControlGroup != "":
		log.Info("the CPU quota is kept by a control group", "quota", quota, "period", limits.Period)
		return func() {}
	}
	log.Info("the CPU quota is kept by holding the vCPUs", "quota", quota, "period", limits.Period)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		limits.Throttle(ctx, vm, s.VCPUs, quota)
	}()
	return func() {
		cancel()
		<-done
	}
}
