package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/fsserver"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/kvm"
	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/balloon"
	"github.com/holtvm/holt/internal/virtio/console"
	"github.com/holtvm/holt/internal/virtio/fs"
	"github.com/holtvm/holt/internal/virtio/rng"
	"github.com/holtvm/holt/internal/virtio/vsock"
)

const (
	// vmmRestoreLimit is the goal for a machine that goes on from an image, in ms.
	vmmRestoreLimit = 5
	largeMemory     = 4 << 30 // bytes
	// usedMemory is how much of a saved guest's memory is not zeros, in bytes.
	usedMemory = 64 << 20
)

// codeHalt is a guest that any /dev/kvm runs.
var codeHalt = []byte{0xF4, 0xEB, 0xFD} // hlt; jmp hlt

// vmmRestore measures the time that a machine takes, of those devices that every guest
// has, from its saved state and memory in a file until its vCPUs go on. Any /dev/kvm
// will do: what the guest is does not matter.
func (b *bench) vmmRestore(ctx context.Context) ([]result, error) {
	if !b.kvm.Usable && b.kvm.Verdict != hypervisor.VerdictEmulates {
		return nil, errors.New(b.kvm.Detail)
	}
	backend, err := kvm.New()
	if err != nil {
		return nil, err
	}
	image := filepath.Join(b.temp, "halt")
	if err := os.WriteFile(image, boottest.PVHKernel(codeHalt), 0o600); err != nil {
		return nil, err
	}
	sizes := []uint64{guestMemory, largeMemory}
	saved := make([]hypervisor.Machine, len(sizes))
	for i, size := range sizes {
		saved[i] = hypervisor.Machine{VCPUs: 1, MemoryBytes: size, Kernel: hypervisor.Kernel{Path: image}}
		f, err := os.Create(filepath.Join(b.temp, fmt.Sprintf("memory-%d", size)))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := b.saveMachine(ctx, backend, &saved[i], f); err != nil {
			return nil, err
		}
	}
	times, slots := make([][]float64, len(sizes)), make([][]float64, len(sizes))
	n := b.count(51, 3)
	for i := range n + 1 { // the first fills caches and does not count
		for k, m := range saved {
			took, err := b.machineGoesOn(ctx, backend, m)
			if err != nil {
				return nil, err
			}
			slot, err := memorySlot(m.MemoryBytes)
			if err != nil {
				return nil, err
			}
			if i > 0 {
				times[k], slots[k] = append(times[k], milliseconds(took)), append(slots[k], milliseconds(slot))
			}
		}
	}
	progress("vmm-restore %d  256 MiB %.2f ms, 4 GiB %.2f ms", n, median(times[0]), median(times[1]))
	limit := []float64{vmmRestoreLimit}
	return []result{
		compare("vmm-restore", "ms", "<= 1.0", "what a machine may take until it goes on", times[0], limit),
		compare("vmm-restore-4g", "ms", "<= 1.0", "the same", times[1], limit),
		compare("vmm-restore-size", "ms", "<= 1.2", "the same machine with 256 MiB", times[1], times[0]),
		// What of this is the host's kernel's.
		compare("vmm-restore-slots", "ms", noGoal, "KVM alone is told of 256 MiB, not 4 GiB", slots[1], slots[0]),
	}, nil
}

// saveMachine starts m, and gives it its saved state and memory as its origin.
func (b *bench) saveMachine(ctx context.Context, backend hypervisor.Backend, m *hypervisor.Machine, f *os.File) error {
	vm, release, err := b.startMachine(ctx, backend, *m)
	if err != nil {
		return err
	}
	defer release()
	if err := vm.Pause(ctx); err != nil {
		return err
	}
	saver, ok := vm.(hypervisor.Saver)
	if !ok {
		return fmt.Errorf("machines of the %s backend cannot be saved", backend.Name())
	}
	return saver.Save(func(state []byte, mem *guestmem.Memory) error {
		used, err := mem.Slice(0, usedMemory)
		if err != nil {
			return err
		}
		for at := 0; at < len(used); at += guestmem.PageSize {
			used[at] |= 1
		}
		m.Origin = &hypervisor.Origin{
			State:  bytes.Clone(state),
			Memory: &guestmem.Image{Size: mem.Size(), Layers: []guestmem.Layer{{File: f}}},
		}
		_, err = mem.WriteImage(ctx, f)
		return err
	})
}

// machineGoesOn is the time from a machine's description to the moment when its vCPUs
// go on.
func (b *bench) machineGoesOn(ctx context.Context, backend hypervisor.Backend, m hypervisor.Machine) (time.Duration, error) {
	origin := *m.Origin
	m.Origin = &origin
	var ready time.Time
	origin.Ready = func(*guestmem.Memory) error {
		ready = time.Now()
		return nil
	}
	begin := time.Now()
	_, release, err := b.startMachine(ctx, backend, m)
	if err != nil {
		return 0, err
	}
	release()
	return ready.Sub(begin), nil
}

// memorySlot is the time that KVM takes to note so much guest memory, in bytes. Without
// the processor's nested paging, it makes tables for each page of that.
func memorySlot(size uint64) (took time.Duration, err error) {
	device, err := kvmapi.Open()
	if err != nil {
		return 0, err
	}
	defer device.Close()
	vm, err := device.CreateVM()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	host, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return 0, fmt.Errorf("reserve memory: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(host)) }()
	begin := time.Now()
	err = vm.SetMemory(0, 0, host)
	return time.Since(begin), err
}

// startMachine makes the devices of m and starts it. release ends it.
func (b *bench) startMachine(ctx context.Context, backend hypervisor.Backend, m hypervisor.Machine) (vm hypervisor.VM, release func(), err error) {
	server, err := fsserver.New(b.temp, fsserver.Options{})
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	screen := console.New(io.Discard, 0, 0)
	closeAll := func() {
		screen.Close()
		server.Close()
	}
	root, err := fs.New("root", 1, server)
	if err == nil {
		m.Devices = []virtio.Device{vsock.New(3, log), &rng.Device{}, screen, balloon.New(log), root}
		vm, err = backend.Start(ctx, m)
	}
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return vm, func() {
		vm.Kill()
		closeAll()
	}, nil
}
