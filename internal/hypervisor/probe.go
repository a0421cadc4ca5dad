package hypervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/holtvm/holt/internal/kvmapi"
)

// Verdict is the kind of result that a probe of /dev/kvm has.
type Verdict string

// What /dev/kvm can turn out to be.
const (
	VerdictUsable      Verdict = "usable"        // runs an unmodified Linux
	VerdictMissing     Verdict = "missing"       // there is no device
	VerdictForbidden   Verdict = "no-permission" // there is one that we may not open
	VerdictEmulates    Verdict = "emulates"      // it only emulates guest kernel code, and not all of it
	VerdictUnsupported Verdict = "unsupported"   // Holt does not support KVM on this architecture
	VerdictError       Verdict = "error"         // something else went wrong; see Detail
)

// Probe is what [ProbeKVM] found out.
type Probe struct {
	Usable      bool    `json:"usable"`
	Verdict     Verdict `json:"verdict"`
	Detail      string  `json:"detail"`                // one sentence for people, with what to do about it
	Instruction string  `json:"instruction,omitempty"` // the one that did not work, for VerdictEmulates
	Cached      bool    `json:"-"`                     // the result is from an earlier probe since this host booted
}

// probeLimit bounds the throw-away machine. Its work takes 3 ms where every
// instruction is emulated; a KVM that needs this long on a busy host is of no
// use.
const probeLimit = time.Second

// errUnsupported is the trial's answer on architectures that it knows nothing of.
var errUnsupported = errors.New("not supported on this architecture yet")

// stuckError says that the throw-away machine stopped at an instruction that
// every Linux kernel uses.
type stuckError struct {
	instruction string
	exit        string
}

func (e *stuckError) Error() string {
	return fmt.Sprintf("guest kernel code stopped at %s (%s)", e.instruction, e.exit)
}

// ProbeKVM finds out whether /dev/kvm can run an unmodified Linux, by running
// some instructions in a throw-away machine that no kernel does without. Some
// hosts have a /dev/kvm that opens and creates machines, but only emulates
// guest kernel code.
//
// The answer is kept in cacheDir for as long as this host is up; "" keeps
// nothing. Whether the device can be opened is looked at each time.
func ProbeKVM(ctx context.Context, cacheDir string) Probe {
	dev, err := kvmapi.Open()
	if err != nil {
		return openFailed(err)
	}
	defer dev.Close()
	cache := probeCache{dir: cacheDir}
	if p, ok := cache.load(); ok {
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	p := judge(try(ctx, dev))
	cache.store(p)
	return p
}

func openFailed(err error) Probe {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Probe{Verdict: VerdictMissing, Detail: "/dev/kvm does not exist: " +
			"virtualization is off in the firmware, the kvm module is not loaded, or this host is itself a virtual machine without nesting"}
	case errors.Is(err, fs.ErrPermission):
		return Probe{Verdict: VerdictForbidden, Detail: "/dev/kvm may not be opened by this user: " + accessHint("/dev/kvm")}
	}
	return Probe{Verdict: VerdictError, Detail: fmt.Sprintf("/dev/kvm cannot be used: %v", err)}
}

// judge turns the trial's outcome into a result.
func judge(err error) Probe {
	var stuck *stuckError
	switch {
	case err == nil:
		return Probe{Usable: true, Verdict: VerdictUsable, Detail: "/dev/kvm works"}
	case errors.As(err, &stuck):
		return Probe{Verdict: VerdictEmulates, Instruction: stuck.instruction, Detail: fmt.Sprintf(
			"/dev/kvm opens, but only emulates guest kernel code: %v. This host is a virtual machine whose own host does not pass hardware virtualization on", err)}
	case errors.Is(err, errUnsupported):
		return Probe{Verdict: VerdictUnsupported, Detail: "/dev/kvm exists; using it is " + err.Error()}
	}
	return Probe{Verdict: VerdictError, Detail: fmt.Sprintf("/dev/kvm opens, but a trial machine does not run: %v", err)}
}
