package kvm

import (
	"encoding/binary"
	"math/bits"

	"github.com/holtvm/holt/internal/kvmapi"
)

// CPUID leaves (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E) and the
// hypervisor's own (Linux, Documentation/virt/kvm/x86/cpuid.rst).
const (
	leafVendor        = 0x0
	leafFeatures      = 0x1
	leafCaches        = 0x4
	leafPower         = 0x6
	leafStructured    = 0x7 // more features, at several indices
	leafPerfmon       = 0xA
	leafTopology      = 0xB
	leafXSave         = 0xD // an index for each part of the area
	leafTSC           = 0x15
	leafTopologyV2    = 0x1F
	leafHypervisor    = 0x4000_0000
	leafKVM           = 0x4000_0001 // what KVM does for guests that know it
	leafTiming        = 0x4000_0010 // TSC and APIC bus frequency, as VMware began and others follow
	leafExtended      = 0x8000_0000
	leafExtFeatures   = 0x8000_0001
	leafAdvancedPower = 0x8000_0007
	leafAMDSizes      = 0x8000_0008
	leafSVM           = 0x8000_000A
	leafAMDCaches     = 0x8000_001D
	leafAMDTopology   = 0x8000_001E
	leafEncryption    = 0x8000_001F
	leafAMDFeatures   = 0x8000_0021
	leafAMDPerfmon    = 0x8000_0022

	vendorIntel = "GenuineIntel" // in leaf 0
)

// Feature bits that we set or clear.
const (
	ecxVMX         = 1 << 5                // leaf 1
	ecxPDCM        = 1 << 15               // leaf 1: performance capabilities MSR
	ecxTSCDeadline = 1 << 24               // leaf 1
	ecxHypervisor  = 1 << 31               // leaf 1
	edxHTT         = 1 << 28               // leaf 1: EBX[23:16] counts the package's processors
	edxArchCap     = 1 << 29               // leaf 7: MSR of what this processor is not vulnerable to
	ecxCmpLegacy   = 1 << 1                // leaf 0x80000001: AMD's twin of HTT, reserved on Intel's
	ecxSVM         = 1 << 2                // leaf 0x80000001
	ecxCounters    = 1<<23 | 1<<24 | 1<<28 // leaf 0x80000001: AMD's performance counters
)

// cpuid is what CPUID shows on a vCPU, or what a host can show.
type cpuid []kvmapi.CPUIDEntry

// apicTimerKHz is the rate of a local APIC's timer in KVM.
const apicTimerKHz = 1_000_000

// processor says what all vCPUs' CPUID has in common.
type processor struct {
	leaves      cpuid  // what the host supports
	immune      uint64 // the host's IA32_ARCH_CAPABILITIES; 0 if it has none
	count       int    // vCPUs
	tscKHz      uint32 // 0 if unknown
	tscDeadline bool
	nested      bool // the guest sees virtualization extensions
}

// cpuid is what CPUID shows on vCPU id: the host's features without performance
// counters, in one package of count cores.
func (p processor) cpuid(id int) cpuid {
	out := make(cpuid, 0, len(p.leaves)+8)
	for _, e := range p.leaves {
		if p.adjust(&e, id) {
			out = append(out, e)
		}
	}
	out = append(out, p.topology(id)...)
	if p.tscKHz != 0 {
		out = append(out, kvmapi.CPUIDEntry{Function: leafTiming, EAX: p.tscKHz, EBX: apicTimerKHz})
	}
	return out
}

// adjust changes a host's leaf to vCPU id's. It reports whether the guest gets
// it at all.
func (p processor) adjust(e *kvmapi.CPUIDEntry, id int) bool {
	n := uint32(p.count)
	switch e.Function {
	case leafTopology, leafTopologyV2, leafTiming:
		return false // see cpuid
	case leafTSC:
		// Linux multiplies the crystal's kHz by the numerator in 32 bits: with the
		// rate that KVM's APIC timer has, no ratio would come out right.
		return false
	case leafEncryption:
		// The host can encrypt guests; this one is none. Linux would read an MSR
		// that such a guest does not have.
		return false
	case leafVendor:
		e.EAX = max(e.EAX, leafTopology)
	case leafFeatures:
		e.EBX = e.EBX&0xFFFF | min(n, 255)<<16 | uint32(id)<<24
		e.ECX = e.ECX&^ecxPDCM | ecxHypervisor
		if !p.nested {
			e.ECX &^= ecxVMX
		}
		if p.tscDeadline {
			e.ECX |= ecxTSCDeadline
		}
		e.EDX &^= edxHTT
		if n > 1 {
			e.EDX |= edxHTT
		}
	case leafCaches:
		if e.EAX&0x1F == 0 {
			break // no more caches
		}
		sharing := uint32(0)
		if e.EAX>>5&7 >= 3 {
			sharing = n - 1 // the last level is everybody's
		}
		e.EAX = e.EAX&0x3FFF | sharing<<14 | (n-1)<<26
	case leafPerfmon, leafAMDPerfmon:
		e.EAX, e.EBX, e.ECX, e.EDX = 0, 0, 0, 0
	case leafHypervisor:
		if p.tscKHz != 0 {
			e.EAX = max(e.EAX, leafTiming)
		}
	case leafExtFeatures:
		e.ECX &^= ecxCmpLegacy | ecxCounters
		if !p.nested {
			e.ECX &^= ecxSVM
		}
		if n > 1 && p.leaves.vendor() != vendorIntel {
			e.ECX |= ecxCmpLegacy
		}
	case leafAMDSizes:
		e.ECX = e.ECX&^0xF0FF | p.idBits()<<12 | (n - 1)
	case leafSVM:
		return p.nested
	case leafAMDCaches:
		if e.EAX&0x1F == 0 {
			break
		}
		sharing := uint32(0)
		if e.EAX>>5&7 >= 3 {
			sharing = n - 1
		}
		e.EAX = e.EAX&0x3FFF | sharing<<14
	case leafAMDTopology:
		e.EAX, e.EBX, e.ECX = uint32(id), uint32(id), 0 // a core of one thread, on node 0
	}
	return true
}

// topology is leaf 0xB: a thread, and its package of cores.
func (p processor) topology(id int) []kvmapi.CPUIDEntry {
	const indexed = kvmapi.CPUIDSignificantIndex
	return []kvmapi.CPUIDEntry{
		{Function: leafTopology, Index: 0, Flags: indexed, EAX: 0, EBX: 1, ECX: 1 << 8, EDX: uint32(id)},
		{Function: leafTopology, Index: 1, Flags: indexed, EAX: p.idBits(), EBX: uint32(p.count), ECX: 2<<8 | 1, EDX: uint32(id)},
		{Function: leafTopology, Index: 2, Flags: indexed, ECX: 2, EDX: uint32(id)},
	}
}

// idBits is how many bits the ids of the package's cores take.
func (p processor) idBits() uint32 { return uint32(bits.Len(uint(p.count - 1))) }

// leaf is what CPUID answers to a function and an index: zeros if it has nothing.
func (c cpuid) leaf(function, index uint32) kvmapi.CPUIDEntry {
	for _, e := range c {
		if e.Function == function && e.Index == index {
			return e
		}
	}
	return kvmapi.CPUIDEntry{}
}

// vendor is the processor's maker, as CPUID spells it.
func (c cpuid) vendor() string {
	e := c.leaf(leafVendor, 0)
	var name []byte
	for _, letters := range []uint32{e.EBX, e.EDX, e.ECX} {
		name = binary.LittleEndian.AppendUint32(name, letters)
	}
	return string(name)
}

// show sets what CPUID shows on the vCPU. KVM adds to that what the guest switches on.
func (c *vcpu) show(leaves cpuid) error {
	c.cpuid = leaves
	return c.api.SetCPUID(leaves)
}
