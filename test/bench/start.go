package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/hypervisor/qemu"
	"github.com/holtvm/holt/internal/kernel"
)

const startGoal = "<= 1.15"

// contender is one way to get the program hello running in a guest. start
// returns the time from the command to the program's first output.
type contender struct {
	name  string
	start func(context.Context) (time.Duration, error)
	times []float64 // ms
}

// start compares `holt run` with a bare QEMU that has the program as its whole
// user space: no root directory, no agent.
func (b *bench) start(ctx context.Context) ([]result, error) {
	root, err := b.helloRoot()
	if err != nil {
		return nil, err
	}
	initramfs, err := b.helloInitramfs()
	if err != nil {
		return nil, err
	}
	ours := &contender{name: "holt run", start: func(ctx context.Context) (time.Duration, error) {
		return timeToGreeting(ctx, exec.Command(b.holt, "run", "--backend", hypervisor.NameQEMU, "--rootfs", root, "-m", "256", "--", "/hello"))
	}}
	floor := &contender{name: "QEMU as Holt starts it, nothing but the program as init", start: func(ctx context.Context) (time.Duration, error) {
		return b.startFloor(ctx, initramfs)
	}}
	plain, err := b.plainQEMU(ctx, initramfs)
	if err != nil {
		return nil, err
	}
	all := append([]*contender{ours, floor}, plain...)
	n := b.count(11, 3)
	for i := range n {
		for _, c := range all {
			if err := c.run(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			progress("start %d/%d  %6.0f ms  %s", i+1, n, c.times[i], c.name)
		}
	}
	// The fastest that a user gets without tricks is what Holt is held to.
	best := slices.MinFunc(plain, func(a, b *contender) int { return int(median(a.times) - median(b.times)) })
	results := []result{compare("start", "ms", startGoal, best.name, ours.times, best.times)}
	for _, c := range plain {
		if c != best {
			results = append(results, compare("start-other-image", "ms", noGoal, c.name, ours.times, c.times))
		}
	}
	return append(results, compare("start-floor", "ms", noGoal, floor.name, ours.times, floor.times)), nil
}

func (c *contender) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	t, err := c.start(ctx)
	c.times = append(c.times, milliseconds(t))
	return err
}

// helloRoot makes a root directory with nothing but the program.
func (b *bench) helloRoot() (string, error) {
	root := filepath.Join(b.temp, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	program, err := os.ReadFile(b.hello)
	if err != nil {
		return "", err
	}
	return root, os.WriteFile(filepath.Join(root, "hello"), program, 0o755)
}

// helloInitramfs makes an archive with the program as init.
func (b *bench) helloInitramfs() (string, error) {
	program, err := os.ReadFile(b.hello)
	if err != nil {
		return "", err
	}
	return kernel.Initramfs(kernel.Kernel{}, kernel.Bytes(program), b.temp)
}

// plainQEMU is QEMU as a user would call it, once for each form that the kernel
// is there in.
func (b *bench) plainQEMU(ctx context.Context, initramfs string) ([]*contender, error) {
	images := []string{b.kernel.ImagePath()}
	if b.kernel.ImageFormat == kernel.FormatELF {
		bz, err := b.bzImage(ctx)
		if err != nil {
			return nil, fmt.Errorf("find the kernel as a bzImage: %w", err)
		}
		images = append(images, bz)
	}
	var all []*contender
	for _, image := range images {
		args := []string{
			"-M", "q35", "-cpu", "max", "-accel", "tcg", "-m", "256",
			"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
			"-kernel", image, "-initrd", initramfs,
			"-append", "console=ttyS0 quiet panic=-1",
			"-serial", "stdio",
		}
		all = append(all, &contender{name: "plain qemu, " + imageName(image), start: func(ctx context.Context) (time.Duration, error) {
			return timeToGreeting(ctx, exec.Command(qemuProgram, args...))
		}})
	}
	return all, nil
}

func imageName(path string) string {
	if filepath.Base(path) == "vmlinux" {
		return "ELF vmlinux"
	}
	return "bzImage"
}

// startFloor is what the machine and the kernel alone take with the options that
// Holt gives to QEMU: what is above it is Holt's own.
func (b *bench) startFloor(ctx context.Context, initramfs string) (time.Duration, error) {
	backend, err := qemu.New(false)
	if err != nil {
		return 0, err
	}
	r, w := io.Pipe()
	begin := time.Now()
	vm, err := backend.Start(ctx, hypervisor.Machine{
		VCPUs:       1,
		MemoryBytes: 256 << 20,
		Kernel:      hypervisor.Kernel{Path: b.kernel.ImagePath(), PVH: b.kernel.PVH},
		Initramfs:   initramfs,
		Console:     w,
	})
	if err != nil {
		return 0, err
	}
	defer vm.Kill()
	defer r.Close() // first: a console that nobody reads holds up Kill
	defer context.AfterFunc(ctx, func() { r.CloseWithError(context.Cause(ctx)) })()
	err = awaitGreeting(r)
	return time.Since(begin), err
}
