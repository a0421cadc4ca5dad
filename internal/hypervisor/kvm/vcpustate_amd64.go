package kvm

import (
	"fmt"

	"github.com/holtvm/holt/internal/kvmapi"
)

// VCPUState is what a vCPU knows. XSave has the format of the XSAVE instruction
// (Intel SDM volume 1, 13.4).
type VCPUState struct {
	CPUID   cpuid
	TSCKHz  uint32
	Regs    kvmapi.Regs
	Sregs   kvmapi.Sregs
	XSave   []byte
	XCRs    kvmapi.XCRs
	MSRs    []kvmapi.MSREntry
	LAPIC   []byte
	Events  kvmapi.Events
	Debug   kvmapi.DebugRegs
	MPState uint32
}

// saveVCPU reads a vCPU that does not run. The order is that of the kernel's own
// dependencies: reading events settles what is pending in the other registers.
func saveVCPU(v *vcpu, msrs []uint32) (s VCPUState, err error) {
	c := v.api
	s.CPUID = v.cpuid
	if s.MPState, err = c.MPState(); err != nil {
		return s, err
	}
	if s.Events, err = c.Events(); err != nil {
		return s, err
	}
	if s.Regs, err = c.Regs(); err != nil {
		return s, err
	}
	if s.Sregs, err = c.Sregs(); err != nil {
		return s, err
	}
	if s.XSave, err = c.XSave(); err != nil {
		return s, err
	}
	if s.XCRs, err = c.XCRs(); err != nil {
		return s, err
	}
	if s.Debug, err = c.DebugRegs(); err != nil {
		return s, err
	}
	lapic, err := c.LAPIC()
	if err != nil {
		return s, err
	}
	s.LAPIC = lapic[:]
	if s.MSRs, err = readMSRs(c, shownMSRs(msrs, s.CPUID)); err != nil {
		return s, err
	}
	if khz, err := c.TSCKHz(); err == nil { // not every host knows it
		s.TSCKHz = khz
	}
	return s, nil
}

// loadVCPU writes s, without its clock (see loadTSC), to a fresh vCPU: CPUID first,
// which decides what else there is; special registers before the local APIC, since
// they hold its base; events after the registers, whose writing forgets what was
// pending; whether it runs at all at last.
func (m *machine) loadVCPU(v *vcpu, s VCPUState) error {
	c := v.api
	var lapic kvmapi.LAPIC
	if len(s.LAPIC) != len(lapic) {
		return fmt.Errorf("a local APIC of %d bytes, want %d", len(s.LAPIC), len(lapic))
	}
	copy(lapic[:], s.LAPIC)
	if err := v.show(s.CPUID); err != nil {
		return err
	}
	if khz, err := c.TSCKHz(); err == nil && s.TSCKHz != 0 && khz != s.TSCKHz {
		if err := c.SetTSCKHz(s.TSCKHz); err != nil {
			return fmt.Errorf("%w: the guest's time stamp counter runs at %d kHz, this host's at %d", err, s.TSCKHz, khz)
		}
	}
	if err := c.SetRegs(s.Regs); err != nil {
		return err
	}
	if err := c.SetSregs(s.Sregs); err != nil {
		return err
	}
	if err := c.SetXCRs(s.XCRs); err != nil {
		return err
	}
	if err := c.SetXSave(s.XSave); err != nil {
		return err
	}
	if err := c.SetDebugRegs(s.Debug); err != nil {
		return err
	}
	if err := c.SetLAPIC(lapic); err != nil {
		return err
	}
	if err := writeMSRs(c, m.msrs, s.MSRs); err != nil {
		return err
	}
	if err := c.SetEvents(s.Events); err != nil {
		return err
	}
	return c.SetMPState(s.MPState)
}
