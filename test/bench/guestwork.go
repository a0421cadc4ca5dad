package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/holtvm/holt/internal/kernel"
)

// guestWork makes the guest of a kind of device, with the modules that it needs
// besides those that every guest has.
func (b *bench) guestWork(ctx context.Context, kind string, settings map[string]int, workloads []workload, modules ...string) (guestWork, error) {
	path, err := b.build(ctx, "guest")
	if err != nil {
		return guestWork{}, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return guestWork{}, err
	}
	image, err := kernel.Initramfs(b.kernel, kernel.Bytes(program), b.temp, modules...)
	if err != nil {
		return guestWork{}, err
	}
	work := guestWork{image: image, workloads: workloads, settings: []string{"BENCH_KIND=" + kind}}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		work.settings = append(work.settings, fmt.Sprintf("BENCH_%s=%d", name, settings[name]))
	}
	return work, nil
}
