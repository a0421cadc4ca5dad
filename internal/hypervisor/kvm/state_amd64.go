package kvm

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/virtio/mmio"
)

// irqChips are KVM's interrupt controllers: the two 8259s and the I/O APIC
// (api.rst, 4.26).
const irqChips = 3

// State is a paused machine without its memory: what its processors, interrupt
// controllers and devices know. Its form in a file is [encodeState]'s.
type State struct {
	Memory   uint64 // bytes
	Clock    uint64 // KVM's, ns
	IRQChips [irqChips]kvmapi.IRQChip
	Serial   json.RawMessage // of serial.UART
	VCPUs    []VCPUState
	Devices  []mmio.State
}

// errNotPaused says that the state of a running machine cannot be had.
var errNotPaused = errors.New("the machine is not paused")

// errNested says that a guest may be in one of its own, of which State knows nothing.
var errNested = errors.New("the machine has nested virtualization")

var _ hypervisor.Saver = (*vm)(nil)

// Save implements hypervisor.Saver. A machine with nested virtualization is refused.
func (v *vm) Save(f func(state []byte, mem *guestmem.Memory) error) error {
	v.pausing.Lock() // and so is the machine's end held up
	defer v.pausing.Unlock()
	switch {
	case v.over:
		return fmt.Errorf("save: %w", errEnded)
	case !v.paused:
		return fmt.Errorf("save: %w", errNotPaused)
	case v.m.nested:
		return fmt.Errorf("save: %w", errNested)
	}
	s, err := v.m.save()
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	state, err := encodeState(s)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return f(state, v.m.mem)
}

// Look implements hypervisor.Saver.
func (v *vm) Look(f func(mem *guestmem.Memory) error) error {
	v.pausing.Lock() // as in Save
	defer v.pausing.Unlock()
	if v.over {
		return fmt.Errorf("look at guest memory: %w", errEnded)
	}
	return f(v.m.mem)
}

// Features implements hypervisor.Saver.
func (v *vm) Features() []string { return featureNames(v.m.vcpus[0].cpuid) }

func (m *machine) save() (s State, err error) {
	s.Memory = m.mem.Size()
	for i := range s.IRQChips {
		if s.IRQChips[i], err = m.vm.IRQChip(i); err != nil {
			return s, err
		}
	}
	for _, c := range m.vcpus {
		cs, err := saveVCPU(c, m.msrs)
		if err != nil {
			return s, fmt.Errorf("vCPU %d: %w", c.id, err)
		}
		s.VCPUs = append(s.VCPUs, cs)
	}
	now, err := m.clocks()
	if err != nil {
		return s, err
	}
	s.Clock = now.clock
	setMSR(s.VCPUs[0].MSRs, msrTSC, now.tsc) // in place of what it was a moment ago
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

// fits reports what makes s another machine's state than m's.
func (m *machine) fits(s State) error {
	if s.Memory != m.mem.Size() || len(s.VCPUs) != len(m.vcpus) || len(s.Devices) != len(m.devices) {
		return fmt.Errorf("it is of a machine with %d bytes of memory, %d vCPUs and %d devices; this one has %d, %d and %d",
			s.Memory, len(s.VCPUs), len(s.Devices), m.mem.Size(), len(m.vcpus), len(m.devices))
	}
	for i, chip := range s.IRQChips {
		if chip.ID != uint32(i) {
			return fmt.Errorf("interrupt controller %d says that it is %d", i, chip.ID)
		}
	}
	return nil
}

// loadState puts a machine that has not run yet where s was saved, which fits it, but for
// its clocks: see loadClocks. Its devices stay paused.
//
// vCPUs come before the interrupt controllers, because what those have pending goes
// on to a local APIC. Devices come last: they may raise interrupts.
func (m *machine) loadState(s State) error {
	for i, c := range m.vcpus {
		if err := m.loadVCPU(c, s.VCPUs[i]); err != nil {
			return fmt.Errorf("vCPU %d: %w", i, err)
		}
	}
	for i, chip := range s.IRQChips {
		if err := m.vm.SetIRQChip(chip); err != nil {
			return fmt.Errorf("interrupt controller %d: %w", i, err)
		}
	}
	if err := m.uart.LoadState(s.Serial); err != nil {
		return err
	}
	for i, d := range m.devices {
		if err := d.transport.Load(s.Devices[i]); err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
	}
	return nil
}
