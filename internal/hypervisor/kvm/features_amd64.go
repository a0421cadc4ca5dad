package kvm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holtvm/holt/internal/kvmapi"
)

// featureWord is a register that CPUID answers with, each of whose bits is a feature.
// Its names begin with bit 0's; "-" and what is left out have none.
type featureWord struct {
	function, index uint32
	register        string // "eax" to "edx"
	names           string
}

// featureWords are the words that KVM has features in. The names are Linux's: those of
// /proc/cpuinfo or, for what that does not show, its own constants' (cpufeatures.h and,
// for KVM's leaf, kvm_para.h) in lower case.
var featureWords = []featureWord{
	{leafFeatures, 0, "edx", "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
	{leafFeatures, 0, "ecx", "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt " +
		"tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor"},
	{leafPower, 0, "eax", "dtherm ida arat"},
	{leafStructured, 0, "ebx", "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a " +
		"avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{leafStructured, 0, "ecx", "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq - " +
		"la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc"},
	{leafStructured, 0, "edx", "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort - tsx_force_abort serialize hybrid_cpu " +
		"tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities spec_ctrl_ssbd"},
	{leafStructured, 1, "eax", "- - - - avx_vnni avx512_bf16 - cmpccxadd arch_perfmon_ext - fzrm fsrs fsrc - - - - fred lkgs wrmsrns - amx_fp16 - avx_ifma - - lam"},
	{leafStructured, 1, "edx", "- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - - - - - prefetchiti - - - - avx10"},
	{leafStructured, 2, "edx", "intel_psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no"},
	{leafXSave, 1, "eax", "xsaveopt xsavec xgetbv1 xsaves xfd"},
	{leafKVM, 0, "eax", "kvm_clocksource kvm_nop_io_delay kvm_mmu_op kvm_clocksource2 kvm_async_pf kvm_steal_time kvm_pv_eoi kvm_pv_unhalt - kvm_pv_tlb_flush " +
		"kvm_async_pf_vmexit kvm_pv_send_ipi kvm_poll_control kvm_pv_sched_yield kvm_async_pf_int kvm_msi_ext_dest_id kvm_hc_map_gpa_range kvm_migration_control " +
		"- - - - - - kvm_clocksource_stable_bit"},
	{leafExtFeatures, 0, "ecx", "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext " +
		"perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx"},
	{leafExtFeatures, 0, "edx", "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
	{leafAdvancedPower, 0, "edx", "- - - - - - - - constant_tsc"},
	{leafAMDSizes, 0, "ebx", "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - amd_ibpb - amd_ibrs amd_stibp - amd_stibp_always_on - - - - - amd_ppin " +
		"amd_ssbd virt_ssbd amd_ssb_no cppc amd_psfd btc_no amd_ibpb_ret brs"},
	{leafAMDFeatures, 0, "eax", "no_nested_data_bp wrmsr_xx_base_ns lfence_rdtsc - - verw_clear null_sel_clr_base - autoibrs no_smm_ctl_msr - - - - - - " +
		"- - - - - - - - - - - sbpb ibpb_brtype srso_no srso_user_kernel_no srso_bp_spec_reduce"},
	{leafAMDFeatures, 0, "ecx", "- tsa_sq_no tsa_l1_no - - - - tsa_fill_no"},
}

// edxDuplicate are bits of leaf 0x80000001, which on AMD's processors are the same as in
// leaf 1.
const edxDuplicate = 0x0183_F3FF

// value is the word in what a processor's CPUID answers.
func (w featureWord) value(leaves cpuid) uint32 {
	e := leaves.leaf(w.function, w.index)
	if w.register == "edx" && w.function == leafExtFeatures {
		return e.EDX &^ edxDuplicate
	}
	return *register(&e, w.register)
}

// register is one of an entry's registers.
func register(e *kvmapi.CPUIDEntry, name string) *uint32 {
	switch name {
	case "eax":
		return &e.EAX
	case "ebx":
		return &e.EBX
	case "ecx":
		return &e.ECX
	default:
		return &e.EDX
	}
}

// bits are the names of the bits of v.
func (w featureWord) bits(v uint32) (names []string) {
	known := strings.Fields(w.names)
	for n := range 32 {
		switch {
		case v>>n&1 == 0:
		case n < len(known) && known[n] != "-":
			names = append(names, known[n])
		default:
			names = append(names, fmt.Sprintf("leaf%x.%d.%s:%d", w.function, w.index, w.register, n))
		}
	}
	return names
}

// mask is the word's bits whose names are among those.
func (w featureWord) mask(among []string) (mask uint32) {
	for n, name := range strings.Fields(w.names) {
		if slices.Contains(among, name) {
			mask |= 1 << n
		}
	}
	if w.register == "edx" && w.function == leafExtFeatures {
		mask |= featureWords[0].mask(among) & edxDuplicate // leaf 1's
	}
	return mask
}

// featureNames are the features that a processor's CPUID shows, sorted.
func featureNames(leaves cpuid) (names []string) {
	for _, w := range featureWords {
		names = append(names, w.bits(w.value(leaves))...)
	}
	slices.Sort(names)
	return names
}

// missing are the features that the guest was shown and the host has not, sorted. The
// host is what a machine would be shown that booted on it.
func missing(guest, host cpuid) (names []string) {
	for _, w := range featureWords {
		names = append(names, w.bits(w.value(guest)&^w.value(host))...)
	}
	names = append(names, missingXSave(guest, host)...)
	slices.Sort(names)
	return names
}

// missingXSave are the parts of a guest's XSAVE area that the host has not, or has
// elsewhere: the guest knows their places by heart. A part is called after its bit in
// XCR0 (Intel SDM volume 1, 13.1).
func missingXSave(guest, host cpuid) (names []string) {
	parts := func(leaves cpuid) uint64 {
		e := leaves.leaf(leafXSave, 0)
		return uint64(e.EDX)<<32 | uint64(e.EAX)
	}
	has, wants := parts(host), parts(guest)
	for n := range uint32(64) {
		g, h := guest.leaf(leafXSave, n), host.leaf(leafXSave, n)
		switch {
		case wants>>n&1 == 0:
		case has>>n&1 == 0:
			names = append(names, fmt.Sprintf("xsave:%d", n))
		case n > 1 && (g.EAX != h.EAX || g.EBX != h.EBX):
			names = append(names, fmt.Sprintf("xsave:%d of %d bytes at %d", n, g.EAX, g.EBX))
		}
	}
	return names
}
