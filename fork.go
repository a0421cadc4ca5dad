package holt

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/monitor"
)

// MaxForks is the most that one [VM.Fork] makes.
const MaxForks = 1000

// Fork returns n copies of a VM that runs or is paused, which run: they go on where it
// is now, and share its memory until one of them changes it. The VM itself stands still
// while its state is copied, and goes on.
//
// Each copy is another machine to its programs: see docs/snapshots.md for what
// differs and what they share. Programs go on, those that [VM.Command] started as
// sessions without a connection; copies publish no ports unless [ReplacePorts] says
// so, and write no console or packet capture to files of the host. With a name from
// [WithName], n of 2 or more are called NAME-1 and so on.
//
// n is 1 to [MaxForks], and the options are those of [Restore]. The copies end with this
// process unless [Keep] is one of them. On an error there is none. A VM that neither runs
// nor is paused is a [*StateError]; one of the qemu backend cannot be forked, nor one with
// Config.Nested.
func (vm *VM) Fork(ctx context.Context, n int, opts ...Option) ([]*VM, error) {
	if n < 1 || n > MaxForks {
		return nil, fmt.Errorf("fork %d VMs: 1 to %d are possible", n, MaxForks)
	}
	o, err := vm.forkOrigin(ctx)
	if err != nil {
		return nil, fmt.Errorf("fork VM %s: %w", vm.Name(), err)
	}
	defer o.close()
	vms, err := o.startAll(ctx, n, opts)
	if err != nil {
		return nil, fmt.Errorf("fork VM %s: %w", vm.Name(), err)
	}
	return vms, nil
}

// forkOrigin saves the VM in memory.
func (vm *VM) forkOrigin(ctx context.Context) (*origin, error) {
	if vm.broken != nil {
		return nil, vm.broken
	}
	c, err := vm.client()
	if err != nil {
		return nil, err
	}
	forked, conn, err := c.Fork(ctx)
	if err != nil {
		return nil, vm.refused(control.PathFork, err)
	}
	defer conn.Close()
	files, err := openForked(forked)
	if err != nil {
		return nil, err
	}
	vm.mu.Lock()
	record := vm.dir.Record
	vm.mu.Unlock()
	note(eventFork, record)
	o, err := newOrigin(vm.config.clone(), record.Options, true, files, forked.Disks)
	if err != nil {
		files.Close()
		return nil, err
	}
	return o.alone(), nil
}

// openForked opens the files that a monitor keeps open.
func openForked(f control.Forked) (*monitor.OriginFiles, error) {
	var opened []*os.File
	for _, descriptor := range f.Files {
		file, err := f.Open(descriptor)
		if err != nil {
			monitor.CloseAll(opened)
			return nil, fmt.Errorf("open what the VM's monitor saved: %w", err)
		}
		opened = append(opened, file)
	}
	files, err := (&monitor.Origin{Layers: f.Layers, Disks: f.Disks}).Files(opened)
	if err != nil {
		monitor.CloseAll(opened)
	}
	return files, err
}

// startAll starts n VMs, some at a time. On error none is left.
func (o *origin) startAll(ctx context.Context, n int, opts []Option) ([]*VM, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	vms := make([]*VM, n)
	set, err := collect(opts)
	if err != nil {
		return nil, err
	}
	slots := make(chan struct{}, 2*runtime.NumCPU())
	var starts sync.WaitGroup
	for i := range vms {
		starts.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			own := opts
			if set.name != "" && n > 1 {
				own = append(slices.Clip(opts), WithName(set.name+"-"+strconv.Itoa(i+1)))
			}
			vm, err := o.start(ctx, own)
			if err != nil {
				cancel(err)
				return
			}
			vms[i] = vm
		})
	}
	starts.Wait()
	if ctx.Err() == nil {
		return vms, nil
	}
	for _, vm := range vms {
		if vm != nil {
			_ = vm.discard(context.WithoutCancel(ctx))
		}
	}
	return nil, context.Cause(ctx)
}

// start starts a VM that goes on from o.
func (o *origin) start(ctx context.Context, opts []Option) (*VM, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	vm, err := o.newVM(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := vm.Start(ctx); err != nil {
		if vm.options.keep {
			_ = vm.discard(context.WithoutCancel(ctx))
		}
		return nil, err
	}
	return vm, nil
}

// discard ends a VM, and removes it if it is kept.
func (vm *VM) discard(ctx context.Context) error {
	vm.mu.Lock()
	kept := vm.dir != nil && vm.dir.Record.Kept
	vm.mu.Unlock()
	if kept {
		return vm.Remove(ctx, true)
	}
	return vm.Kill()
}
