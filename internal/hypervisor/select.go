package hypervisor

import (
	"context"
	"fmt"
	"log/slog"
)

// The names by which users choose a backend.
const (
	NameAuto = "auto"
	NameKVM  = "kvm"
	NameQEMU = "qemu"
)

// Options is what [Select] chooses from.
type Options struct {
	// QEMU makes the qemu backend, with hardware acceleration through
	// /dev/kvm or without.
	QEMU func(useKVM bool) (Backend, error)
	// CacheDir keeps the probe's result for the time until the next boot of
	// this host; "" probes each time.
	CacheDir string
	// Logger gets one line at info that says what was chosen and why; nil
	// drops it.
	Logger *slog.Logger
}

// Select returns the backend called name: "auto", "qemu", or "kvm", which this
// build does not have yet. Both "auto" and "qemu" use /dev/kvm when the probe
// finds that it can run Linux.
func Select(ctx context.Context, name string, o Options) (Backend, error) {
	return choose(ctx, name, o, ProbeKVM)
}

func choose(ctx context.Context, name string, o Options, probe func(context.Context, string) Probe) (Backend, error) {
	switch name {
	case NameAuto, NameQEMU:
	case NameKVM:
		return nil, fmt.Errorf("this build has no kvm backend yet; use --backend %s (which uses KVM acceleration when /dev/kvm works)", NameQEMU)
	default:
		return nil, fmt.Errorf("backend %q is unknown; it is one of %s, %s, %s", name, NameAuto, NameKVM, NameQEMU)
	}
	p := probe(ctx, o.CacheDir)
	b, err := o.QEMU(p.Usable)
	if err != nil {
		return nil, err
	}
	if o.Logger != nil {
		accel := "software emulation"
		if p.Usable {
			accel = "kvm"
		}
		o.Logger.InfoContext(ctx, "backend chosen", "asked", name, "backend", b.Name(), "acceleration", accel, "kvm", p.Detail)
	}
	return b, nil
}
