package main

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/hypervisor"
)

const (
	savedName = "bench" // of the snapshot
	// saveTimeout is for all that is saved before the first round.
	saveTimeout = 3 * time.Minute
	// acquires is how often an idle VM is handed out in a turn. One time is too short
	// for a clock of an outer VM.
	acquires = 1000
	// idleForks is how many forks' memory is looked at in a turn.
	idleForks = 4
)

// cloner makes guests that go on from others.
type cloner struct {
	*turns
	qemuState string // file
}

// clones saves a guest of ours and one of QEMU's, and returns the turns. Each ends
// what it started: a guest that waits takes time from those that are measured.
func (t *turns) clones(ctx context.Context) ([]turn, error) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	c := &cloner{turns: t}
	if err := errors.Join(c.save(ctx), c.saveQEMU(ctx)); err != nil {
		return nil, err
	}
	return []turn{
		{coldBoot, c.coldBoot},
		{restored, func(ctx context.Context) (figures, error) { return c.restore(ctx) }},
		{prefetched, func(ctx context.Context) (figures, error) { return c.restore(ctx, holt.Prefetch()) }},
		{qemuRestored, c.restoreQEMU},
		{forked, c.fork},
		{pooled, c.acquire},
	}, nil
}

// binary is an option of all our guests.
func (c *cloner) binary() holt.Option { return holt.WithBinary(c.Holt) }

// boot starts a guest whose program waits.
func (c *cloner) boot(ctx context.Context) (*holt.VM, error) {
	cfg := holt.DefaultConfig()
	cfg.MemoryMB, cfg.RootPath, cfg.RootOverlay = guestMemory>>20, c.Commands, true
	cfg.ExecPath, cfg.Args = "/bin/sleep", []string{"1000000"}
	vm, err := holt.New(cfg, holt.WithBackend(hypervisor.NameKVM), c.binary())
	if err != nil {
		return nil, err
	}
	return vm, vm.Start(ctx)
}

// save makes the snapshot that guests are restored from, of a guest that has answered
// and does nothing, as a service is when it is ready. A restored one tells what such a
// guest touches, for Prefetch.
func (c *cloner) save(ctx context.Context) error {
	vm, err := c.boot(ctx)
	if err != nil {
		return err
	}
	snapshot, err := saveIdle(ctx, vm)
	if err := errors.Join(err, vm.Kill()); err != nil {
		return err
	}
	vm, err = holt.Restore(ctx, savedName, c.binary())
	if err != nil {
		return err
	}
	if err = vm.Command(ctx, noOperation).Run(); err == nil {
		err = snapshot.RecordWorkingSet(ctx, vm)
	}
	return errors.Join(err, vm.Kill())
}

func saveIdle(ctx context.Context, vm *holt.VM) (*holt.Snapshot, error) {
	if err := vm.Command(ctx, noOperation).Run(); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	return vm.Snapshot(ctx, savedName)
}

// answered measures a guest until get returns it, and until it has run a command.
func answered(ctx context.Context, get func() (*holt.VM, error)) (f figures, err error) {
	begin := time.Now()
	vm, err := get()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, vm.Kill()) }()
	started := time.Since(begin)
	if err := vm.Command(ctx, noOperation).Run(); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	stats, err := vm.Stats(ctx)
	return figures{
		startTime: milliseconds(started), answerTime: milliseconds(took), answerExits: float64(stats.KernelExits),
	}, err
}

func (c *cloner) coldBoot(ctx context.Context) (figures, error) {
	return answered(ctx, func() (*holt.VM, error) { return c.boot(ctx) })
}

func (c *cloner) restore(ctx context.Context, opts ...holt.Option) (figures, error) {
	return answered(ctx, func() (*holt.VM, error) { return holt.Restore(ctx, savedName, append(opts, c.binary())...) })
}

// fork measures a fork of a guest that does nothing, and the memory of some that do
// nothing, either.
func (c *cloner) fork(ctx context.Context) (f figures, err error) {
	parent, err := c.boot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, parent.Kill()) }()
	if err := parent.Command(ctx, noOperation).Run(); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	f, err = answered(ctx, func() (*holt.VM, error) {
		forks, err := parent.Fork(ctx, 1, c.binary())
		if err != nil {
			return nil, err
		}
		return forks[0], nil
	})
	if err != nil {
		return nil, err
	}
	forks, err := parent.Fork(ctx, idleForks, c.binary())
	if err != nil {
		return nil, err
	}
	time.Sleep(settle)
	memory, err := forkMemory(ctx, forks)
	for _, vm := range forks {
		err = errors.Join(err, vm.Kill())
	}
	maps.Copy(f, memory)
	return f, err
}

// acquire measures a pool that has an idle VM: the first use of that, and how long it
// takes to be given back and handed out again. No other VM is started meanwhile.
func (c *cloner) acquire(ctx context.Context) (f figures, err error) {
	pool, err := holt.NewPool(ctx, holt.PoolConfig{
		Min: 1, Max: 1, Reuse: true, From: holt.PoolSnapshot(savedName), Options: []holt.Option{c.binary()},
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	if err := pool.Warm(ctx); err != nil {
		return nil, err
	}
	begin := time.Now()
	vm, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pool.Release(vm)) }()
	started := time.Since(begin)
	if err := vm.Command(ctx, "/bin/echo").Run(); err != nil {
		return nil, err
	}
	f = figures{startTime: milliseconds(started), answerTime: milliseconds(time.Since(begin))}
	begin = time.Now()
	for range acquires {
		if err := pool.Release(vm); err != nil {
			return nil, err
		}
		if _, err := pool.Acquire(ctx); err != nil { // the same
			return nil, err
		}
	}
	f[acquireTime] = 1000 * time.Since(begin).Seconds() / acquires
	return f, nil
}
