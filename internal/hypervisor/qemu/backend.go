// Package qemu is the backend that drives QEMU, for hosts where our own monitor
// cannot run: it starts one qemu-system-x86_64 process per machine, serves the
// machine's devices to it over vhost-user, and follows its life over QMP.
//
// Everything between us and the process goes over inherited descriptors (QMP,
// the serial port, one socket per device), so a machine leaves no files, and the
// process dies with us.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/holtvm/holt/internal/hypervisor"
)

// program is what the backend looks for in PATH when HOLT_QEMU is not set.
const program = "qemu-system-x86_64"

// ErrNotInstalled says that there is no QEMU to drive, and what to do.
var ErrNotInstalled = errors.New(program + " is not installed: run `apt-get install qemu-system-x86`")

// Backend starts machines as QEMU processes. It has no state of its own.
type Backend struct {
	path     string // of the executable
	firmware string // path of qboot; "" for QEMU's default
	kvm      bool   // accelerate with /dev/kvm
}

// New finds QEMU: the executable that HOLT_QEMU names, or qemu-system-x86_64 in
// PATH. With useKVM its machines run on /dev/kvm, otherwise they are emulated.
// Without HOLT_QEMU, the error is [ErrNotInstalled] when there is none.
func New(useKVM bool) (hypervisor.Backend, error) {
	name := os.Getenv("HOLT_QEMU")
	if name == "" {
		name = program
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if name != program {
			return nil, fmt.Errorf("find qemu as HOLT_QEMU says: %w", err)
		}
		return nil, ErrNotInstalled
	}
	return &Backend{path: path, firmware: findFirmware(path), kvm: useKVM}, nil
}

// findFirmware looks for qboot beside the executable's other data. It starts a
// kernel some 30 ms sooner than QEMU's default, SeaBIOS; either will do.
func findFirmware(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	rom := filepath.Join(filepath.Dir(path), "..", "share", "qemu", "qboot.rom")
	if _, err := os.Stat(rom); err != nil {
		return ""
	}
	return rom
}

// Name implements hypervisor.Backend.
func (b *Backend) Name() string { return hypervisor.NameQEMU }

// Start implements hypervisor.Backend. It returns when QEMU has answered on QMP,
// by which time the guest is already running.
func (b *Backend) Start(ctx context.Context, m hypervisor.Machine) (hypervisor.VM, error) {
	if m.Logger == nil {
		m.Logger = slog.New(slog.DiscardHandler)
	}
	args, err := b.arguments(m)
	if err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start qemu: %w", context.Cause(ctx))
	}
	m.Logger.Debug("start qemu", "path", b.path, "args", args)
	v, err := launch(b.path, args, m)
	if err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	if err := v.greet(ctx); err != nil {
		return nil, fmt.Errorf("start qemu: %w", err)
	}
	if m.Nested && !b.kvm {
		go v.nudge(m)
	}
	return v, nil
}
