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

// msr finds a register's value.
func msr(msrs []kvmapi.MSREntry, index uint32) (uint64, bool) {
	i := slices.IndexFunc(msrs, func(m kvmapi.MSREntry) bool { return m.Index == index })
	if i < 0 {
		return 0, false
	}
	return msrs[i].Data, true
}

// setMSR changes a register's value, if it is there.
func setMSR(msrs []kvmapi.MSREntry, index uint32, value uint64) {
	for i := range msrs {
		if msrs[i].Index == index {
			msrs[i].Data = value
		}
	}
}
