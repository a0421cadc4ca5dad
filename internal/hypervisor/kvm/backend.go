// Package kvm is our own virtual machine monitor on /dev/kvm: it lays out guest
// memory, makes vCPUs and runs them, answers their exits, and carries the
// machine's devices over virtio-mmio.
//
// The files in the order of a machine's life: backend.go (what is asked for),
// machine.go (what there is), layout.go (the address space), build_amd64.go (the
// machine is put together), devices.go (and its devices), cmdline.go (what its kernel
// is told), cpuid_amd64.go, template_amd64.go, features_amd64.go and registers_amd64.go
// (the state that a vCPU begins in), vcpu.go and exits_amd64.go (the loop of a vCPU and
// its exits), bus.go and ports.go (who answers them), gate.go and pause.go (how vCPUs
// are held), ending.go, vm.go, stats.go and report_amd64.go (the end and what is told
// of it), state_amd64.go, vcpustate_amd64.go, msrs_amd64.go and statefile_amd64.go
// (what is kept of a machine that is saved), origin_amd64.go (how another goes on).
package kvm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/holtvm/holt/internal/hypervisor"
)

// MaxVCPUs is the largest number of vCPUs of a machine.
const MaxVCPUs = 64

// Backend starts machines on /dev/kvm. It has no state.
type Backend struct{}

// New returns the backend. Whether /dev/kvm can run a Linux is
// [hypervisor.ProbeKVM]'s matter.
func New() (hypervisor.Backend, error) { return Backend{}, nil }

// Name implements hypervisor.Backend.
func (Backend) Name() string { return hypervisor.NameKVM }

// Start implements hypervisor.Backend. It returns when the vCPUs run. Its VMs are
// [hypervisor.Saver]s. The error wraps a *[hypervisor.CPUError] where this host's
// processor does not do for the machine's template or origin.
func (Backend) Start(ctx context.Context, m hypervisor.Machine) (hypervisor.VM, error) {
	if m.Logger == nil {
		m.Logger = slog.New(slog.DiscardHandler)
	}
	if m.VCPUs < 1 || m.VCPUs > MaxVCPUs {
		return nil, fmt.Errorf("start machine: %d vCPUs: 1 to %d are possible", m.VCPUs, MaxVCPUs)
	}
	if err := checkMemory(m.MemoryBytes); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	if m.Origin != nil && m.Origin.Memory == nil {
		return nil, errors.New("start machine: it is to go on from an origin without memory")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start machine: %w", context.Cause(ctx))
	}
	built, err := build(m)
	if err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	return start(built), nil
}
