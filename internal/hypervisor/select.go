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
	// KVM makes the kvm backend.
	KVM func() (Backend, error)
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

// Select returns the backend called name. "auto" is kvm when the probe finds that
// /dev/kvm can run Linux, and qemu otherwise. "qemu" accelerates with /dev/kvm
// under the same condition. "kvm" needs a /dev/kvm that opens; one that the probe
// finds wanting is tried all the same, with a warning.
func Select(ctx context.Context, name string, o Options) (Backend, error) {
	return choose(ctx, name, o, ProbeKVM)
}

func choose(ctx context.Context, name string, o Options, probe func(context.Context, string) Probe) (Backend, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if name != NameAuto && name != NameKVM && name != NameQEMU {
		return nil, fmt.Errorf("backend %q is unknown; it is one of %s, %s, %s", name, NameAuto, NameKVM, NameQEMU)
	}
	p := probe(ctx, o.CacheDir)
	var b Backend
	var err error
	switch {
	case name == NameKVM && !p.Usable && p.Verdict != VerdictEmulates && p.Verdict != VerdictError:
		return nil, fmt.Errorf("backend kvm: %s; --backend qemu needs no KVM", p.Detail)
	case name == NameKVM || name == NameAuto && p.Usable:
		b, err = o.KVM()
	default:
		b, err = o.QEMU(p.Usable)
	}
	if err != nil {
		return nil, err
	}
	if name == NameKVM && !p.Usable {
		o.Logger.WarnContext(ctx, "the kvm backend was asked for, but will hardly boot a Linux here", "kvm", p.Detail)
	}
	acceleration := "kvm"
	if !p.Usable && b.Name() == NameQEMU {
		acceleration = "software emulation"
	}
	o.Logger.InfoContext(ctx, "backend chosen", "asked", name, "backend", b.Name(), "acceleration", acceleration, "kvm", p.Detail)
	return b, nil
}
