package monitor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/cpioroot"
	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/balloon"
	vconsole "github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtio/vsock"
)

const (
	guestCID = 3 // the first that is free (virtio 1.2, 5.10.4); each VM has its own device, so all may share it
	hostname = "holt"
)

// assembly is everything that a VM consists of before it runs.
type assembly struct {
	machine hypervisor.Machine
	vsock   *vsock.Device
	boot    agentproto.BootSpec
	groups  []string         // of kernel modules that the guest needs
	files   *fsserver.Budget // for all shared directories together
	log     *slog.Logger

	// What the VM's figures are made of, beside the machine.
	network *networkEnd // nil if there is none
	disks   []attachedDisk
	shares  []attachedShare

	saved  saved      // of a machine that goes on from where another was saved
	memory []*os.File // layers of its memory that were made since it runs, see rebase

	closers []io.Closer // released in reverse order
}

// assemble makes the devices, finds the kernel and writes the agent's
// instructions, for the backend of that name.
func assemble(ctx context.Context, spec Spec, env Env, con *console, backend string) (_ *assembly, err error) {
	a := &assembly{
		vsock: vsock.New(guestCID, env.Log.With("device", "vsock")),
		boot:  agentproto.BootSpec{Hostname: hostname, Nested: spec.Nested, Hold: spec.Hold, Program: spec.Program},
		log:   env.Log,
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if a.files, err = fsserver.ProcessBudget(); err != nil {
		return nil, err
	}
	// First what another VM or program may have: a port, a disk.
	if spec.Network != nil {
		if err := a.plugIn(*spec.Network, spec.Origin != nil); err != nil {
			return nil, err
		}
	}
	if err := a.addDisks(spec, env.Origin); err != nil {
		return nil, err
	}
	a.addDevice(a.vsock, "")
	a.addDevice(&rng.Device{}, "")
	a.addDevice(vconsole.New(con, 0, 0), "console")
	a.addDevice(balloon.New(env.Log.With("device", "balloon")), "balloon")
	if err := a.addRoot(spec); err != nil {
		return nil, err
	}
	if err := a.addShares(spec); err != nil {
		return nil, err
	}
	a.machine.VCPUs = spec.VCPUs
	a.machine.MemoryBytes = spec.MemoryBytes
	a.machine.CPUTemplate = spec.CPUTemplate
	a.machine.Console = con
	a.machine.Nested = spec.Nested
	a.machine.KernelLog = spec.KernelLog
	a.machine.Logger = env.Log
	if spec.Origin != nil {
		err = a.originate(spec.Origin, env.Origin)
	} else {
		err = a.addKernel(ctx, spec, env, backend)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// addKernel finds the kernel, and makes what it is started with.
func (a *assembly) addKernel(ctx context.Context, spec Spec, env Env, backend string) error {
	k, err := findKernel(ctx, kernel.Open(env.Dirs), spec)
	if err != nil {
		return err
	}
	if backend == hypervisor.NameKVM {
		a.groups = append(a.groups, "mmio")
	}
	if spec.Nested {
		if err := hasKVM(k); err != nil {
			return err
		}
		a.groups = append(a.groups, "kvm")
	}
	a.machine.Kernel = hypervisor.Kernel{Path: k.ImagePath(), PVH: k.PVH}
	a.machine.Initramfs, err = kernel.Initramfs(k, env.Agent, env.Dirs.Cache, a.groups...)
	if err != nil || spec.Rootfs == "" {
		return err
	}
	a.machine.Initramfs, err = cpioroot.Prepare(ctx, spec.Rootfs, a.machine.Initramfs, cpioroot.Options{
		MemoryBytes: spec.MemoryBytes,
		CacheDir:    env.Dirs.Cache,
	})
	if err != nil {
		return fmt.Errorf("rootfs_path: %w", err)
	}
	return nil
}

// addDevice attaches a device, for which the guest's kernel needs the modules of a
// group, or none of its own.
func (a *assembly) addDevice(dev virtio.Device, group string) {
	a.machine.Devices = append(a.machine.Devices, dev)
	if group != "" && !slices.Contains(a.groups, group) {
		a.groups = append(a.groups, group)
	}
}

// findKernel returns the kernel that spec names, or else the default one. For a
// guest that runs guests this gives way to one that has KVM.
func findKernel(ctx context.Context, store *kernel.Store, spec Spec) (kernel.Kernel, error) {
	if spec.Kernel != "" {
		return store.FromFile(ctx, spec.Kernel)
	}
	k, err := store.Default()
	if err != nil || !spec.Nested || k.Has("kvm") {
		return k, err
	}
	others, err := store.List()
	if i := slices.IndexFunc(others, func(k kernel.Kernel) bool { return k.Has("kvm") }); i >= 0 {
		return others[i], nil // whatever is wrong with the rest
	}
	return k, err
}

// hasKVM returns an error if it is known that a guest with k cannot run virtual
// machines. Of a kernel with everything built in, only the guest can tell.
func hasKVM(k kernel.Kernel) error {
	for _, vendor := range []string{"kvm-amd", "kvm-intel"} {
		if !slices.Contains(k.Missing, vendor) {
			return nil
		}
	}
	return fmt.Errorf("nested virtualization needs a kernel with KVM: %s has no module kvm-amd (CONFIG_KVM_AMD) or kvm-intel (CONFIG_KVM_INTEL); choose another of `holt kernel ls` with --kernel", k.Name)
}

// Close releases what the devices hold on the host. The machine must be gone.
func (a *assembly) Close() {
	for _, c := range slices.Backward(a.closers) {
		_ = c.Close()
	}
	for _, f := range a.memory {
		_ = f.Close()
	}
}
