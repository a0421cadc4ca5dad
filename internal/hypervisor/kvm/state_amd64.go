package kvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/virtio/mmio"
)

// stateVersion is the version of State.
const stateVersion = 1

// irqChips are KVM's interrupt controllers: the two 8259s and the I/O APIC
// (api.rst, 4.26).
const irqChips = 3

// State is a paused machine without its memory: what its processors, interrupt
// controllers and devices know.
type State struct {
	Version  int                      `json:"version"` // 1
	Memory   uint64                   `json:"memory"`  // bytes
	Clock    kvmapi.Clock             `json:"clock"`
	IRQChips [irqChips]kvmapi.IRQChip `json:"irqchips"`
	VCPUs    []VCPUState              `json:"vcpus"`
	Serial   json.RawMessage          `json:"serial"`
	Devices  []mmio.State             `json:"devices"`
}

// VCPUState is what a vCPU knows. XSave has the format of the XSAVE instruction
// (Intel SDM volume 1, 13.4).
type VCPUState struct {
	CPUID   []kvmapi.CPUIDEntry `json:"cpuid"`
	TSCKHz  uint32              `json:"tsc_khz,omitempty"`
	Regs    kvmapi.Regs         `json:"regs"`
	Sregs   kvmapi.Sregs        `json:"sregs"`
	XSave   []byte              `json:"xsave"`
	XCRs    kvmapi.XCRs         `json:"xcrs"`
	MSRs    []kvmapi.MSREntry   `json:"msrs"`
	LAPIC   []byte              `json:"lapic"`
	Events  kvmapi.Events       `json:"events"`
	Debug   kvmapi.DebugRegs    `json:"debug"`
	MPState uint32              `json:"mp_state"`
}

// errNotPaused says that the state of a running machine cannot be had.
var errNotPaused = errors.New("the machine is not paused")

// errNested says that a guest may be in one of its own, of which State knows nothing.
var errNested = errors.New("the machine has nested virtualization")

// SaveState returns the state of a paused machine without nested virtualization.
func (v *vm) SaveState() (State, error) {
	v.pausing.Lock()
	defer v.pausing.Unlock()
	if !v.paused || v.over {
		return State{}, fmt.Errorf("save state: %w", errNotPaused)
	}
	if v.m.nested {
		return State{}, fmt.Errorf("save state: %w", errNested)
	}
	s, err := v.m.save()
	if err != nil {
		return State{}, fmt.Errorf("save state: %w", err)
	}
	return s, nil
}

func (m *machine) save() (s State, err error) {
	s.Version, s.Memory = stateVersion, m.mem.Size()
	if s.Clock, err = m.vm.Clock(); err != nil {
		return s, err
	}
	for i := range s.IRQChips {
		if s.IRQChips[i], err = m.vm.IRQChip(i); err != nil {
			return s, err
		}
	}
	for _, c := range m.vcpus {
		cs, err := saveVCPU(c.api, m.msrs)
		if err != nil {
			return s, fmt.Errorf("vCPU %d: %w", c.id, err)
		}
		s.VCPUs = append(s.VCPUs, cs)
	}
	if s.Serial, err = m.uart.SaveState(); err != nil {
		return s, err
	}
	for _, d := range m.devices {
		ds, err := d.transport.Save()
		if err != nil {
			return s, err
		}
		s.Devices = append(s.Devices, ds)
	}
	return s, nil
}

// loadState puts a machine that was built alike, has the same memory and has not run
// yet where s was saved. Its devices stay paused.
func (m *machine) loadState(s State) error {
	switch {
	case s.Version != stateVersion:
		return fmt.Errorf("load state: its version is %d, this holt knows %d", s.Version, stateVersion)
	case s.Memory != m.mem.Size() || len(s.VCPUs) != len(m.vcpus) || len(s.Devices) != len(m.devices):
		return fmt.Errorf("load state: it is of a machine with %d bytes of memory, %d vCPUs and %d devices; this one has %d, %d and %d",
			s.Memory, len(s.VCPUs), len(s.Devices), m.mem.Size(), len(m.vcpus), len(m.devices))
	}
	for i, d := range m.devices {
		if err := d.transport.Load(s.Devices[i]); err != nil {
			return fmt.Errorf("load state: device %d: %w", i, err)
		}
	}
	if err := m.uart.LoadState(s.Serial); err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	for i, chip := range s.IRQChips {
		if err := m.vm.SetIRQChip(chip); err != nil {
			return fmt.Errorf("load state: interrupt controller %d: %w", i, err)
		}
	}
	if err := m.vm.SetClock(kvmapi.Clock{Clock: s.Clock.Clock}); err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	for i, c := range m.vcpus {
		if err := loadVCPU(c.api, s.VCPUs[i]); err != nil {
			return fmt.Errorf("load state: vCPU %d: %w", i, err)
		}
	}
	return nil
}

// saveVCPU reads a vCPU that does not run. The order is that of the kernel's own
// dependencies: reading events settles what is pending in the other registers.
func saveVCPU(c *kvmapi.VCPU, msrs []uint32) (s VCPUState, err error) {
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
	if s.MSRs, err = readMSRs(c, msrs); err != nil {
		return s, err
	}
	if s.CPUID, err = c.CPUID(); err != nil {
		return s, err
	}
	if khz, err := c.TSCKHz(); err == nil { // not every host knows it
		s.TSCKHz = khz
	}
	return s, nil
}

// loadVCPU writes s to a fresh vCPU: CPUID first, which decides what else there
// is; special registers before MSRs, since they hold the APIC's base; the local
// APIC before its deadline, which is among the MSRs; events last.
func loadVCPU(c *kvmapi.VCPU, s VCPUState) error {
	var lapic kvmapi.LAPIC
	if len(s.LAPIC) != len(lapic) {
		return fmt.Errorf("a local APIC of %d bytes, want %d", len(s.LAPIC), len(lapic))
	}
	copy(lapic[:], s.LAPIC)
	if err := c.SetCPUID(s.CPUID); err != nil {
		return err
	}
	if khz, err := c.TSCKHz(); err == nil && s.TSCKHz != 0 && khz != s.TSCKHz {
		if err := c.SetTSCKHz(s.TSCKHz); err != nil {
			return err
		}
	}
	if err := c.SetMPState(s.MPState); err != nil {
		return err
	}
	if err := c.SetRegs(s.Regs); err != nil {
		return err
	}
	if err := c.SetSregs(s.Sregs); err != nil {
		return err
	}
	if err := c.SetXSave(s.XSave); err != nil {
		return err
	}
	if err := c.SetXCRs(s.XCRs); err != nil {
		return err
	}
	if err := c.SetDebugRegs(s.Debug); err != nil {
		return err
	}
	if err := c.SetLAPIC(lapic); err != nil {
		return err
	}
	if err := writeMSRs(c, s.MSRs); err != nil {
		return err
	}
	return c.SetEvents(s.Events)
}

// readMSRs reads those of the host's MSRs that this vCPU has.
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

// writeMSRs sets MSRs. Some cannot be written at all: those must be right already.
func writeMSRs(c *kvmapi.VCPU, msrs []kvmapi.MSREntry) error {
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
		if now, readErr := c.MSRs([]uint32{refused.Index}); readErr != nil || len(now) == 0 || now[0].Data != msrs[i].Data {
			return err
		}
		msrs = msrs[i+1:]
	}
	return nil
}
