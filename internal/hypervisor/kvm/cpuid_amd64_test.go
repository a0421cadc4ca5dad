package kvm

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/holtvm/holt/internal/kvmapi"
)

// allOnes is a leaf of a host that has everything, and that leaves every count
// for us to set.
func allOnes(function, index uint32) kvmapi.CPUIDEntry {
	const all = 0xFFFF_FFFF
	return kvmapi.CPUIDEntry{Function: function, Index: index, EAX: all, EBX: all, ECX: all, EDX: all}
}

// cache is a leaf of the deterministic cache parameters: a type, a level, and
// counts of processors that are the host's.
func cache(function, index, kind, level uint32) kvmapi.CPUIDEntry {
	e := kvmapi.CPUIDEntry{Function: function, Index: index, Flags: kvmapi.CPUIDSignificantIndex}
	if kind != 0 {
		e.EAX = kind | level<<5 | 0xFFF<<14 | 0x3F<<26
		e.EBX, e.ECX = 0x01C0_003F, 63
	}
	return e
}

// Hosts, as KVM_GET_SUPPORTED_CPUID shows them.
var testHosts = map[string][]kvmapi.CPUIDEntry{
	"intel": {
		{Function: leafVendor, EAX: 0x20, EBX: 0x756E6547, ECX: 0x6C65746E, EDX: 0x49656E69},
		allOnes(leafFeatures, 0),
		cache(leafCaches, 0, 1, 1), cache(leafCaches, 1, 2, 1), cache(leafCaches, 2, 3, 2), cache(leafCaches, 3, 3, 3), cache(leafCaches, 4, 0, 0),
		allOnes(leafPerfmon, 0),
		allOnes(leafTopology, 0), allOnes(leafTopology, 1), allOnes(leafTopologyV2, 0),
		{Function: leafTSC},
		{Function: leafHypervisor, EAX: 0x4000_0001, EBX: 0x4B4D564B, ECX: 0x564B4D56, EDX: 0x4D},
		{Function: 0x8000_0000, EAX: leafAMDSizes},
		allOnes(leafExtFeatures, 0),
	},
	"amd": {
		{Function: leafVendor, EAX: 0x1, EBX: 0x68747541, ECX: 0x444D4163, EDX: 0x69746E65}, // without leaf 0xB
		allOnes(leafFeatures, 0),
		{Function: leafHypervisor, EAX: 0x4000_0001, EBX: 0x4B4D564B, ECX: 0x564B4D56, EDX: 0x4D},
		{Function: 0x8000_0000, EAX: leafAMDTopology},
		allOnes(leafExtFeatures, 0),
		allOnes(leafAMDSizes, 0),
		allOnes(leafSVM, 0),
		cache(leafAMDCaches, 0, 1, 1), cache(leafAMDCaches, 1, 3, 2), cache(leafAMDCaches, 2, 3, 3), cache(leafAMDCaches, 3, 0, 0),
		allOnes(leafAMDTopology, 0),
		allOnes(leafEncryption, 0),
	},
}

// leaf finds what CPUID shows for a function and an index.
func leaf(t *testing.T, leaves []kvmapi.CPUIDEntry, function, index uint32) kvmapi.CPUIDEntry {
	t.Helper()
	var found []kvmapi.CPUIDEntry
	for _, e := range leaves {
		if e.Function == function && (e.Index == index || e.Flags&kvmapi.CPUIDSignificantIndex == 0 && index == 0) {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		t.Fatalf("leaf %#x, index %d is there %d times", function, index, len(found))
	}
	return found[0]
}

func has(leaves []kvmapi.CPUIDEntry, function uint32) bool {
	for _, e := range leaves {
		if e.Function == function {
			return true
		}
	}
	return false
}

// eachVCPU runs f for each host, several numbers of vCPUs, and each of them.
func eachVCPU(t *testing.T, f func(t *testing.T, p processor, id int)) {
	for host, leaves := range testHosts {
		for _, n := range []int{1, 2, 3, 64} {
			t.Run(fmt.Sprintf("%s, %d", host, n), func(t *testing.T) {
				for id := range n {
					f(t, processor{leaves: leaves, count: n, tscKHz: 2_500_000}, id)
				}
			})
		}
	}
}

// TestTopology: every way in which a kernel may ask says the same: one package of
// count cores of one thread, and who this one is.
func TestTopology(t *testing.T) {
	eachVCPU(t, func(t *testing.T, p processor, id int) {
		leaves, n := p.cpuid(id), uint32(p.count)
		if e := leaf(t, leaves, leafVendor, 0); e.EAX < leafTopology {
			t.Errorf("the last leaf is %#x: nobody looks at the topology", e.EAX)
		}
		e := leaf(t, leaves, leafFeatures, 0)
		if got := e.EBX >> 24; got != uint32(id) {
			t.Errorf("vCPU %d: leaf 1 says APIC id %d", id, got)
		}
		if got := e.EBX >> 16 & 0xFF; got != n {
			t.Errorf("leaf 1 counts %d processors, want %d", got, n)
		}
		if got := e.EDX&edxHTT != 0; got != (n > 1) {
			t.Errorf("%d vCPUs: HTT is %v", n, got)
		}
		thread, core, end := leaf(t, leaves, leafTopology, 0), leaf(t, leaves, leafTopology, 1), leaf(t, leaves, leafTopology, 2)
		if thread.EAX != 0 || thread.EBX != 1 || thread.ECX>>8 != 1 {
			t.Errorf("threads: %+v", thread)
		}
		if core.EAX >= 32 || 1<<core.EAX < n || core.EAX > 0 && 1<<(core.EAX-1) >= n || core.EBX != n || core.ECX>>8 != 2 {
			t.Errorf("%d cores: %+v", n, core)
		}
		if end.ECX>>8 != 0 || end.EBX != 0 {
			t.Errorf("end of the topology: %+v", end)
		}
		for i, e := range []kvmapi.CPUIDEntry{thread, core, end} {
			if e.EDX != uint32(id) || e.ECX&0xFF != uint32(i) || e.Flags != kvmapi.CPUIDSignificantIndex {
				t.Errorf("vCPU %d, level %d: %+v", id, i, e)
			}
		}
		if has(leaves, leafTopologyV2) {
			t.Error("the host's topology is there too")
		}
	})
}

// TestAMDTopology: AMD's leaves say the same as the common ones.
func TestAMDTopology(t *testing.T) {
	for _, n := range []int{1, 2, 3, 64} {
		p := processor{leaves: testHosts["amd"], count: n}
		for id := range n {
			leaves := p.cpuid(id)
			sizes := leaf(t, leaves, leafAMDSizes, 0).ECX
			if sizes&0xFF != uint32(n-1) || sizes>>12&0xF != uint32(bits.Len(uint(n-1))) {
				t.Errorf("%d vCPUs: core count and id size %#x", n, sizes)
			}
			if e := leaf(t, leaves, leafAMDTopology, 0); e.EAX != uint32(id) || e.EBX&0xFF != uint32(id) || e.EBX>>8 != 0 || e.ECX != 0 {
				t.Errorf("vCPU %d of %d: %+v", id, n, e)
			}
			if got := leaf(t, leaves, leafExtFeatures, 0).ECX&ecxCmpLegacy != 0; got != (n > 1) {
				t.Errorf("%d vCPUs: CmpLegacy is %v", n, got)
			}
		}
	}
}

// TestCachesAreShared: the last level is everybody's, the others nobody else's.
func TestCachesAreShared(t *testing.T) {
	for host, function := range map[string]uint32{"intel": leafCaches, "amd": leafAMDCaches} {
		for _, n := range []uint32{1, 2, 64} {
			for _, e := range (processor{leaves: testHosts[host], count: int(n)}).cpuid(0) {
				if e.Function != function {
					continue
				}
				want := uint32(0)
				if e.EAX>>5&7 == 3 {
					want = n - 1
				}
				if got := e.EAX >> 14 & 0xFFF; got != want {
					t.Errorf("%s, %d vCPUs: level %d is shared by 1 + %d, want %d", host, n, e.EAX>>5&7, got, want)
				}
				if cores := e.EAX >> 26; function == leafCaches && e.EAX&0x1F != 0 && cores != n-1 {
					t.Errorf("%d vCPUs: 1 + %d cores", n, cores)
				}
				if e.EAX&0x1F != 0 && (e.EBX != 0x01C0_003F || e.ECX != 63) {
					t.Errorf("the size changed: %+v", e)
				}
			}
		}
	}
}

// TestVirtualizationIsHidden unless the guest is to have it.
func TestVirtualizationIsHidden(t *testing.T) {
	for _, nested := range []bool{false, true} {
		for host, leaves := range testHosts {
			got := processor{leaves: leaves, count: 1, nested: nested}.cpuid(0)
			if vmx := leaf(t, got, leafFeatures, 0).ECX&ecxVMX != 0; vmx != nested {
				t.Errorf("%s, nested %v: VMX is %v", host, nested, vmx)
			}
			if svm := leaf(t, got, leafExtFeatures, 0).ECX&ecxSVM != 0; svm != nested {
				t.Errorf("%s, nested %v: SVM is %v", host, nested, svm)
			}
			if svm := has(got, leafSVM); host == "amd" && svm != nested {
				t.Errorf("nested %v: SVM's leaf is there: %v", nested, svm)
			}
		}
	}
}

// TestHiddenLeaves: what a host has that this guest cannot use, or would get wrong.
func TestHiddenLeaves(t *testing.T) {
	eachVCPU(t, func(t *testing.T, p processor, id int) {
		leaves := p.cpuid(id)
		for _, function := range []uint32{leafTSC, leafEncryption} {
			if has(leaves, function) {
				t.Errorf("vCPU %d has leaf %#x", id, function)
			}
		}
	})
	for id := range 2 {
		leaves := processor{leaves: testHosts["intel"], count: 2}.cpuid(id)
		if leaf(t, leaves, leafExtFeatures, 0).ECX&ecxCmpLegacy != 0 {
			t.Errorf("vCPU %d is Intel's and has AMD's CmpLegacy", id)
		}
	}
}

func TestHypervisorFeatures(t *testing.T) {
	for host, leaves := range testHosts {
		for _, deadline := range []bool{false, true} {
			bare := make([]kvmapi.CPUIDEntry, len(leaves))
			copy(bare, leaves)
			for i := range bare {
				if bare[i].Function == leafFeatures {
					bare[i].ECX &^= ecxTSCDeadline | ecxHypervisor // KVM shows neither
				}
			}
			got := processor{leaves: bare, count: 1, tscDeadline: deadline}.cpuid(0)
			ecx := leaf(t, got, leafFeatures, 0).ECX
			if ecx&ecxHypervisor == 0 || ecx&ecxPDCM != 0 || ecx&ecxTSCDeadline != 0 != deadline {
				t.Errorf("%s, deadline timer %v: features %#x", host, deadline, ecx)
			}
			if host == "intel" {
				if e := leaf(t, got, leafPerfmon, 0); e.EAX|e.EBX|e.ECX|e.EDX != 0 {
					t.Errorf("the guest sees performance counters: %+v", e)
				}
			}
		}
	}
}

// TestTSCFrequency: a guest that asks gets the frequency; if nobody knows it, it is
// told nothing.
func TestTSCFrequency(t *testing.T) {
	for host, leaves := range testHosts {
		for _, khz := range []uint32{0, 1_000_000, 2_599_998, 4_000_001} {
			got := processor{leaves: leaves, count: 2, tscKHz: khz}.cpuid(1)
			last := leaf(t, got, leafHypervisor, 0).EAX
			if khz == 0 {
				if has(got, leafTiming) || last >= leafTiming {
					t.Errorf("%s: a frequency that nobody knows is told, the last leaf is %#x", host, last)
				}
				continue
			}
			if e := leaf(t, got, leafTiming, 0); e.EAX != khz || e.EBX != apicTimerKHz || last < leafTiming {
				t.Errorf("%s, %d kHz: the hypervisor's leaf says %+v, the last is %#x", host, khz, e, last)
			}
		}
	}
}

// TestHostLeavesAreNotChanged: each vCPU begins with the same.
func TestHostLeavesAreNotChanged(t *testing.T) {
	for host, leaves := range testHosts {
		before := make([]kvmapi.CPUIDEntry, len(leaves))
		copy(before, leaves)
		processor{leaves: leaves, count: 4, tscKHz: 1}.cpuid(3)
		for i := range before {
			if before[i] != leaves[i] {
				t.Errorf("%s: leaf %#x changed", host, before[i].Function)
			}
		}
	}
}
