package kvm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/holtvm/holt/internal/kvmapi"
)

// Model-specific registers (Intel SDM volume 4) that need care when a machine is
// saved or goes on.
const (
	msrTSC              = 0x10
	msrArchCapabilities = 0x10A // what this processor is not vulnerable to
	msrMTRRVariable     = 0x200 // eight pairs
	msrMTRRVariableEnd  = 0x210
	msrPerfCapabilities = 0x345
	msrTSCDeadline      = 0x6E0 // of the local APIC's timer
	msrHyperV           = 0x4000_0000
	msrHyperVEnd        = 0x4000_1000
)

// stateMSRs adds to KVM's list those that hold state and that it leaves out: the
// memory types. Linux does not look at them again, but may be asked for them.
func stateMSRs(list []uint32) []uint32 {
	list = append(list, msrMTRRDefault, 0x250, 0x258, 0x259)
	for fixed := uint32(0x268); fixed <= 0x26F; fixed++ {
		list = append(list, fixed)
	}
	for variable := uint32(msrMTRRVariable); variable < msrMTRRVariableEnd; variable++ {
		list = append(list, variable)
	}
	return list
}

// shownMSRs leaves out of indices those that the guest does not see and that are there
// nevertheless: what this host's processor is like, which another host may refuse, and
// Hyper-V's, some of which are clocks.
func shownMSRs(indices []uint32, shown cpuid) []uint32 {
	return slices.DeleteFunc(slices.Clone(indices), func(index uint32) bool {
		switch index {
		case msrArchCapabilities:
			return shown.leaf(leafStructured, 0).EDX&edxArchCap == 0
		case msrPerfCapabilities:
			return shown.leaf(leafFeatures, 0).ECX&ecxPDCM == 0
		}
		return index >= msrHyperV && index < msrHyperVEnd
	})
}

// readMSRs reads those of the MSRs that this vCPU has.
func readMSRs(c *kvmapi.VCPU, indices []uint32) (out []kvmapi.MSREntry, err error) {
	for len(indices) > 0 {
		got, err := c.MSRs(indices)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
		// It stopped at one that CPUID does not give this guest.
		indices = indices[min(len(got)+1, len(indices)):]
	}
	return out, nil
}

// writeMSRs sets MSRs but for the clock's, which are loadTSC's. This host has those
// of known. Another kernel has others: what is zero there and does not exist here is
// no loss. Some cannot be written at all: those must be right already.
func writeMSRs(c *kvmapi.VCPU, known []uint32, msrs []kvmapi.MSREntry) error {
	msrs = slices.DeleteFunc(slices.Clone(msrs), func(m kvmapi.MSREntry) bool {
		return m.Index == msrTSC || m.Index == msrTSCDeadline || m.Data == 0 && !slices.Contains(known, m.Index)
	})
	for _, m := range msrs {
		if !slices.Contains(known, m.Index) {
			return fmt.Errorf("msr %#x, which is %#x, does not exist on this host", m.Index, m.Data)
		}
	}
	for len(msrs) > 0 {
		err := c.SetMSRs(msrs)
		refused, ok := errors.AsType[*kvmapi.MSRError](err)
		if !ok {
			return err
		}
		i := slices.IndexFunc(msrs, func(m kvmapi.MSREntry) bool { return m.Index == refused.Index })
		if i < 0 {
			return err
		}
		now, readErr := c.MSRs([]uint32{refused.Index})
		exists := readErr == nil && len(now) > 0
		if exists && now[0].Data != msrs[i].Data || !exists && msrs[i].Data != 0 {
			return fmt.Errorf("%w, to %#x", err, msrs[i].Data)
		}
		msrs = msrs[i+1:]
	}
	return nil
}

// farTSC is far more than KVM takes for the same moment, in cycles.
const farTSC = 1 << 62

// loadTSC lets the time stamp counters go on from where the first vCPU's was, and
// sets the timers that go by them. Elsewhere they are all that clocks depend on.
//
// KVM takes a counter that is written within a second of what another one shows for
// an attempt at the same, and makes the two equal (x86.c, kvm_synchronize_tsc). That
// is what keeps the counters of several vCPUs together, whose values were read one
// after the other. But Linux before 6.6 also does so for the first one, which then
// stays at what a new machine begins with, if the guest is not a second old. So that
// is first moved away.
func (m *machine) loadTSC(saved []VCPUState) error {
	now, ok := msr(saved[0].MSRs, msrTSC)
	if !ok {
		return errors.New("it has no time stamp counter")
	}
	first := m.vcpus[0].api
	if err := first.SetMSRs([]kvmapi.MSREntry{{Index: msrTSC, Data: now + farTSC}}); err != nil {
		return err
	}
	for i, c := range m.vcpus {
		clock := []kvmapi.MSREntry{{Index: msrTSC, Data: now}}
		if deadline, ok := msr(saved[i].MSRs, msrTSCDeadline); ok {
			clock = append(clock, kvmapi.MSREntry{Index: msrTSCDeadline, Data: deadline})
		}
		if err := c.api.SetMSRs(clock); err != nil {
			return fmt.Errorf("vCPU %d: %w", i, err)
		}
	}
	return nil
}

// msr finds a register's value.
func msr(msrs []kvmapi.MSREntry, index uint32) (uint64, bool) {
	i := slices.IndexFunc(msrs, func(m kvmapi.MSREntry) bool { return m.Index == index })
	if i < 0 {
		return 0, false
	}
	return msrs[i].Data, true
}
