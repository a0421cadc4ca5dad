package kvm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
)

// template is a CPU template: what a guest is shown at most. Everything that is not
// named here is hidden. Family, model and the processor's name stay the host's.
type template struct {
	needs  string // the host must have these: the level of the psABI, and those below it
	allows string // shown if the host has them
	xsave  uint64 // parts of the XSAVE area, as in XCR0; 0 hides XSAVE
}

// The levels of the x86-64 psABI (System V Application Binary Interface, AMD64
// Architecture Processor Supplement, table 3.1), by Linux's names.
const (
	levelV1 = "cmov cx8 fpu fxsr mmx syscall sse sse2"
	levelV2 = levelV1 + " cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
	levelV3 = levelV2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
)

// Beside the level, a guest is shown what its kernel and the hypervisor need of each
// other. Programs choose their code by nothing of this.
const (
	allowsKernel = " vme de pse tsc msr pae mce apic sep mtrr pge mca pat pse36 clflush ht lm nx rdtscp" + // every processor of the level has these
		" x2apic tsc_deadline_timer tsc_adjust arat hypervisor" + // KVM has these by itself
		" constant_tsc" + // without it the guest has no fast clock
		" cmp_legacy topoext" // how AMD's processors tell the topology
	// Protection of the guest's kernel from its programs: worth more than a machine
	// that goes on everywhere.
	allowsProtection = " spec_ctrl intel_stibp spec_ctrl_ssbd md_clear flush_l1d amd_ibpb amd_ibrs amd_stibp amd_ssbd virt_ssbd amd_ssb_no lfence_rdtsc"
	// What Linux 5.8 and all after it give a guest.
	allowsKVM = " kvm_clocksource kvm_nop_io_delay kvm_clocksource2 kvm_async_pf kvm_steal_time kvm_pv_eoi kvm_pv_unhalt kvm_pv_tlb_flush kvm_async_pf_vmexit" +
		" kvm_pv_send_ipi kvm_poll_control kvm_pv_sched_yield kvm_async_pf_int kvm_clocksource_stable_bit"
	allowsV2 = allowsKernel + allowsProtection + allowsKVM
	// The first processors of this level, Haswell and Zen, have these as well.
	allowsV3 = allowsV2 + " aes pclmulqdq rdrand fsgsbase smep erms xsaveopt"
)

// Parts of the XSAVE area (Intel SDM volume 1, 13.1).
const xsaveX87, xsaveSSE, xsaveAVX = 1 << 0, 1 << 1, 1 << 2

// templates are the CPU templates by their names.
var templates = map[string]template{
	hypervisor.CPUTemplateV2: {needs: levelV2, allows: allowsV2},
	hypervisor.CPUTemplateV3: {needs: levelV3, allows: allowsV3, xsave: xsaveX87 | xsaveSSE | xsaveAVX},
}

// templateLeaves are what is left of CPUID: the features' leaves, and those that
// describe caches, topology, addresses and the hypervisor.
var templateLeaves = []uint32{
	leafVendor, leafFeatures, 0x2, leafCaches, leafPower, leafStructured, leafTopology, leafXSave,
	leafHypervisor, leafKVM, leafTiming,
	leafExtended, leafExtFeatures, 0x8000_0002, 0x8000_0003, 0x8000_0004, 0x8000_0005, 0x8000_0006, leafAdvancedPower, leafAMDSizes,
	leafAMDCaches, leafAMDTopology, leafAMDFeatures,
}

// limit applies the template of that name to what the host supports. The error is a
// *hypervisor.CPUError if that is less.
func (p *processor) limit(name string) error {
	t, ok := templates[name]
	if !ok {
		return fmt.Errorf("cpu template %q is unknown; it is one of %s", name, strings.Join(hypervisor.CPUTemplates(), ", "))
	}
	if p.nested {
		return fmt.Errorf("cpu template %s: it hides the virtualization that a nested machine is to have", name)
	}
	if lacks := t.lacks(p.leaves); len(lacks) > 0 {
		return fmt.Errorf("cpu template %s: %w", name, &hypervisor.CPUError{Missing: lacks})
	}
	p.leaves = t.apply(p.leaves)
	return nil
}

// lacks are the features of the template that a processor has not, sorted.
func (t template) lacks(leaves cpuid) []string {
	has := featureNames(leaves)
	lacks := slices.DeleteFunc(strings.Fields(t.needs), func(name string) bool {
		_, found := slices.BinarySearch(has, name)
		return found
	})
	slices.Sort(lacks)
	return lacks
}

// apply hides from what a host supports everything that the template does not name.
func (t template) apply(leaves cpuid) cpuid {
	shown := strings.Fields(t.needs + t.allows)
	out := slices.DeleteFunc(slices.Clone(leaves), t.hides)
	for i := range out {
		e := &out[i]
		for _, w := range featureWords {
			if w.function == e.Function && w.index == e.Index {
				*register(e, w.register) &= w.mask(shown)
			}
		}
		switch e.Function {
		case leafVendor:
			e.EAX = min(e.EAX, leafXSave)
		case leafStructured:
			e.EAX = 0 // no further indices
		case leafXSave:
			t.limitXSave(e, out)
		case leafExtended:
			e.EAX = min(e.EAX, leafAMDFeatures)
		}
	}
	return out
}

// hides reports whether nothing is left of a leaf.
func (t template) hides(e kvmapi.CPUIDEntry) bool {
	switch e.Function {
	case leafStructured:
		return e.Index > 0
	case leafXSave:
		return t.xsave == 0 || e.Index > 1 && t.xsave>>e.Index&1 == 0
	}
	return !slices.Contains(templateLeaves, e.Function)
}

// limitXSave leaves the template's parts of the XSAVE area in leaf 0xD, of which only
// those are left that describe them. What the guest has switched on there is KVM's to
// fill in.
func (t template) limitXSave(e *kvmapi.CPUIDEntry, leaves cpuid) {
	const legacyAndHeader = 512 + 64 // bytes
	switch e.Index {
	case 0:
		e.EAX &= uint32(t.xsave)
		e.EDX &= uint32(t.xsave >> 32)
		e.EBX, e.ECX = legacyAndHeader, legacyAndHeader
		for _, part := range leaves {
			if part.Function == leafXSave && part.Index > 1 {
				e.ECX = max(e.ECX, part.EBX+part.EAX)
			}
		}
	case 1:
		e.EBX, e.ECX, e.EDX = 0, 0, 0 // no parts for kernels only
	}
}
