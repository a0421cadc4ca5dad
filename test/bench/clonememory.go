package main

import (
	"context"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

// forkMemory is what each of some forks has for itself, by kind, in MiB.
func forkMemory(ctx context.Context, forks []*holt.VM) (figures, error) {
	sum := figures{}
	for _, vm := range forks {
		info, err := vm.Info(ctx)
		if err != nil {
			return nil, err
		}
		one, err := vmtest.UniqueMemory(info.MonitorPID)
		if err != nil {
			return nil, err
		}
		for kind, bytes := range map[string]int64{forkGuest: one.Guest, forkMonitor: one.Monitor, forkProgram: one.Program} {
			sum[kind] += float64(bytes) / (1 << 20) / float64(len(forks))
		}
	}
	return sum, nil
}
