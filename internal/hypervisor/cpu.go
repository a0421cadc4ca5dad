package hypervisor

import (
	"fmt"
	"strings"
)

// The names by which users choose a CPU template: micro-architecture levels of the
// x86-64 psABI (table 3.1).
const (
	CPUTemplateV2 = "x86-64-v2"
	CPUTemplateV3 = "x86-64-v3"
)

// CPUTemplates are the names that Machine.CPUTemplate may have, besides "", which is
// everything that the host's processor and KVM have.
func CPUTemplates() []string { return []string{CPUTemplateV2, CPUTemplateV3} }

// CPUError says that this host's processor does not do for a machine: for one that
// was saved elsewhere, or for the CPU template that it was to start with.
type CPUError struct {
	Missing []string // features that the machine needs and this host lacks, as Saver.Features names them, sorted
	// Vendor and HostVendor are the makers of the processors, as CPUID spells them
	// ("GenuineIntel"): that which the machine was saved on, and this host's. Both
	// are empty for a template.
	Vendor, HostVendor string
}

// Error says what is missing and what to do about it.
func (e *CPUError) Error() string {
	if e.Vendor != e.HostVendor {
		return fmt.Sprintf("the machine was saved on a processor of %q, this host has one of %q: no CPU template bridges that, it has to be booted anew",
			e.Vendor, e.HostVendor)
	}
	missing := strings.Join(e.Missing, ", ")
	if e.Vendor == "" {
		return fmt.Sprintf("this host's processor lacks %s: choose a lower --cpu-template, or none", missing)
	}
	return fmt.Sprintf("this host's processor lacks %s, which the machine was shown when it booted: "+
		"boot what is to move between hosts with --cpu-template (%s) on the oldest host", missing, strings.Join(CPUTemplates(), ", "))
}
