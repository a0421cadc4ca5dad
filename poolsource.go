package holt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holtvm/holt/internal/paths"
)

// PoolSource is what the VMs of a pool are copies of: [PoolSnapshot] or
// [PoolConfigured]. They publish no ports, unless [ReplacePorts] says so, and write no
// console or packet capture to files of the host.
type PoolSource struct {
	text string // what it is, for people
	open func(context.Context, []Option) (*origin, error)
}

// PoolSnapshot makes each VM of a pool one that goes on from the snapshot with a name,
// as [Restore] does. The snapshot may be removed while the pool has it.
func PoolSnapshot(name string) PoolSource {
	return PoolSource{"snapshot " + name, func(ctx context.Context, opts []Option) (*origin, error) {
		_, o, err := openOrigin(ctx, name, opts)
		if err != nil {
			return nil, err
		}
		return o.alone(), nil
	}}
}

// PoolConfigured makes each VM of a pool a copy of one with this configuration, which
// NewPool boots, saves in memory when its program runs, and ends. The program must go
// on for as long as a VM is to live: the VM ends with it.
func PoolConfigured(cfg Config) PoolSource {
	command := strings.Join(append([]string{cfg.ExecPath}, cfg.Args...), " ")
	return PoolSource{command, func(ctx context.Context, opts []Option) (*origin, error) {
		if cfg.Nested {
			return nil, errors.New("a VM with a nested hypervisor cannot be copied")
		}
		cfg := cfg.clone()
		cfg.PortMap = nil
		vm, err := New(cfg, opts...)
		if err != nil {
			return nil, err
		}
		dirs, err := paths.Default()
		if err != nil {
			return nil, err
		}
		if err := canSave(ctx, vm.options.backend, dirs.Cache); err != nil {
			return nil, err
		}
		if err := vm.Start(ctx); err != nil {
			return nil, fmt.Errorf("boot the VM that it has copies of: %w", err)
		}
		defer func() { _ = vm.Kill() }()
		o, err := vm.forkOrigin(ctx)
		if err != nil {
			return nil, fmt.Errorf("save the VM that it has copies of: %w", err)
		}
		return o, nil
	}}
}

// alone takes away what of the host only one VM can have.
func (o *origin) alone() *origin {
	o.config.alone()
	return o
}

func (c *Config) alone() { c.PortMap, c.ConsoleOutput, c.PacketCapture = nil, "", "" }

// machines are where a pool's VMs come from.
type machines interface {
	// start starts a VM.
	start(ctx context.Context) (*VM, error)
	// ping returns when a VM has shown that it lives.
	ping(ctx context.Context, vm *VM) error
	// wait returns when a VM has ended, with how.
	wait(vm *VM) error
	// end ends a VM and returns when nothing of it is left.
	end(vm *VM)
	// close says that no more VMs are started. It may be called again.
	close()
}

// clones are VMs that go on from one origin.
type clones struct {
	origin *origin
	opts   []Option
}

func (c *clones) start(ctx context.Context) (*VM, error) { return c.origin.start(ctx, c.opts) }
func (*clones) ping(ctx context.Context, vm *VM) error   { return vm.Ping(ctx) }
func (*clones) end(vm *VM)                               { _ = vm.Kill() } // one that is not kept always ends
func (c *clones) close()                                 { c.origin.close() }
func (*clones) wait(vm *VM) error {
	return cmp.Or(vm.Wait(), errors.New("its main program ended with exit status 0"))
}
