package kvm

import (
	"fmt"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/kvmapi"
)

// Control register and EFER bits of 64-bit mode (Intel SDM volume 3, 2.5).
const (
	cr0PE = 1 << 0
	cr0MP = 1 << 1
	cr0ET = 1 << 4
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0PG = 1 << 31

	cr4PAE = 1 << 5

	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsReserved = 1 << 1 // always 1
)

// Model-specific registers that have a state before the kernel begins.
const (
	msrMiscEnable     = 0x1A0
	msrMTRRDefault    = 0x2FF
	miscFastStrings   = 1 << 0
	mtrrEnable        = 1 << 11
	mtrrWriteBack     = 6
	kernelCodeSegment = 0x10 // __BOOT_CS (boot.rst, 64-bit boot protocol)
	kernelDataSegment = 0x18 // __BOOT_DS
)

// enterKernel puts a fresh vCPU where boot.Load says that the kernel begins.
func enterKernel(c *kvmapi.VCPU, e boot.Entry) error {
	s, err := c.Sregs()
	if err != nil {
		return err
	}
	code := kvmapi.Segment{Limit: 0xFFFF_FFFF, Selector: kernelCodeSegment, Type: 0xB, Present: 1, S: 1, L: 1, G: 1}
	data := kvmapi.Segment{Limit: 0xFFFF_FFFF, Selector: kernelDataSegment, Type: 0x3, Present: 1, S: 1, DB: 1, G: 1}
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = code, data, data, data, data, data
	s.GDT.Base, s.GDT.Limit = e.GDT, e.GDTLimit
	s.IDT.Base, s.IDT.Limit = 0, 0
	s.CR0 = cr0PE | cr0MP | cr0ET | cr0NE | cr0WP | cr0PG
	s.CR3, s.CR4 = e.CR3, cr4PAE
	s.EFER = eferLME | eferLMA
	if err := c.SetSregs(s); err != nil {
		return err
	}
	return c.SetRegs(kvmapi.Regs{RIP: e.RIP, RSI: e.RSI, RSP: e.RSP, RFLAGS: rflagsReserved})
}

// firmwareMSRs sets what a PC's firmware leaves behind on every processor.
func firmwareMSRs(c *kvmapi.VCPU) error {
	for _, m := range []kvmapi.MSREntry{
		{Index: msrMiscEnable, Data: miscFastStrings},
		// Without it, Linux takes memory types for disabled.
		{Index: msrMTRRDefault, Data: mtrrEnable | mtrrWriteBack},
	} {
		if err := c.SetMSRs([]kvmapi.MSREntry{m}); err != nil {
			return fmt.Errorf("prepare msr %#x: %w", m.Index, err)
		}
	}
	return nil
}

// tellStopped tells the guest's watchdogs, through kvmclock, that it was not
// running for a while (api.rst, 4.70).
func (m *machine) tellStopped() {
	for _, c := range m.vcpus {
		// A guest that has no kvmclock yet cannot be told.
		_ = c.api.KVMClockCtrl()
	}
}
