package monitor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtio/vsock"
)

const (
	rootTag  = "root"
	guestCID = 3 // the first that is free (virtio 1.2, 5.10.4); each VM has its own device, so all may share it
	hostname = "holt"

	maxRequestQueues = 4 // per shared directory
)

// assembly is everything that a VM consists of before it runs.
type assembly struct {
	machine hypervisor.Machine
	vsock   *vsock.Device
	boot    agentproto.BootSpec
	servers []*fsserver.Server
}

// assemble makes the devices, finds the kernel and writes the agent's
// instructions, for the backend of that name.
func assemble(ctx context.Context, spec Spec, env Env, con *console, backend string) (_ *assembly, err error) {
	a := &assembly{vsock: vsock.New(guestCID, env.Log.With("device", "vsock"))}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	k, err := findKernel(ctx, kernel.Open(env.Dirs), spec)
	if err != nil {
		return nil, err
	}
	var groups []string
	if backend == hypervisor.NameKVM {
		groups = append(groups, "mmio")
	}
	if spec.RootOverlay {
		groups = append(groups, "overlay")
	}
	if spec.Nested {
		if err := hasKVM(k); err != nil {
			return nil, err
		}
		groups = append(groups, "kvm")
	}
	initramfs, err := kernel.Initramfs(k, env.Agent, env.Dirs.Cache, groups...)
	if err != nil {
		return nil, err
	}
	a.machine = hypervisor.Machine{
		VCPUs:       spec.VCPUs,
		MemoryBytes: spec.MemoryBytes,
		Kernel:      hypervisor.Kernel{Path: k.ImagePath(), PVH: k.PVH},
		Initramfs:   initramfs,
		Console:     con,
		Nested:      spec.Nested,
		KernelLog:   spec.KernelLog,
		Logger:      env.Log,
	}
	a.machine.Devices = []virtio.Device{a.vsock, &rng.Device{}}
	a.boot = agentproto.BootSpec{
		Hostname: hostname,
		Nested:   spec.Nested,
		Program:  spec.Program,
	}
	files, err := fsserver.ProcessBudget()
	if err != nil {
		return nil, err
	}
	root := Share{Host: spec.Root, Guest: "/", ReadOnly: spec.RootOverlay}
	if err := a.share(rootTag, root, spec.VCPUs, files, env.Log); err != nil {
		return nil, err
	}
	if spec.RootOverlay {
		// Only what is below the overlay is read-only.
		a.boot.Mounts[0].Overlay, a.boot.Mounts[0].ReadOnly = true, false
	}
	// A directory is mounted before those inside it.
	shares := slices.SortedStableFunc(slices.Values(spec.Shares), func(a, b Share) int { return cmp.Compare(a.Guest, b.Guest) })
	for i, s := range shares {
		if err := a.share(fmt.Sprintf("dir%d", i), s, spec.VCPUs, files, env.Log); err != nil {
			return nil, err
		}
	}
	return a, nil
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

// share adds a shared directory: its server, its device and its mount.
func (a *assembly) share(tag string, s Share, vcpus int, files *fsserver.Budget, log *slog.Logger) error {
	log = log.With("device", "fs", "tag", tag)
	server, err := fsserver.New(s.Host, fsserver.Options{ReadOnly: s.ReadOnly, Budget: files, Logger: log})
	if err != nil {
		return fmt.Errorf("share %s: %w", s.Host, err)
	}
	a.servers = append(a.servers, server)
	dev, err := fs.New(tag, min(vcpus, maxRequestQueues), server)
	if err != nil {
		return err
	}
	a.machine.Devices = append(a.machine.Devices, dev)
	a.boot.Mounts = append(a.boot.Mounts, agentproto.Mount{Tag: tag, Target: s.Guest, ReadOnly: s.ReadOnly})
	return nil
}

// Close releases what the devices hold on the host. The machine must be gone.
func (a *assembly) Close() {
	for _, s := range a.servers {
		_ = s.Close()
	}
}
