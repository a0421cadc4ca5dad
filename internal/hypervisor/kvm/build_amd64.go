package kvm

import (
	"crypto/rand"
	"fmt"

	"github.com/holtvm/holt/internal/acpi"
	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
)

// build makes a machine that is ready to run.
func build(spec hypervisor.Machine) (_ *machine, err error) {
	m := newMachine(spec)
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	took := newSteps()
	dev, err := kvmapi.Open()
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	if m.vm, err = dev.CreateVM(); err != nil {
		return nil, err
	}
	took.done("vm")
	if err := m.addMemory(spec.MemoryBytes); err != nil {
		return nil, err
	}
	took.done("memory")
	if err := m.vm.SetIdentityMapAddr(identityMap); err != nil {
		return nil, err
	}
	if err := m.vm.SetTSSAddr(taskStateBase); err != nil {
		return nil, err
	}
	if err := m.vm.CreateIRQChip(); err != nil {
		return nil, err
	}
	took.done("irqchip")
	if err := m.addDevices(spec); err != nil {
		return nil, err
	}
	took.done("devices")
	entry, err := m.load(spec)
	if err != nil {
		return nil, err
	}
	took.done("load")
	if err := m.addVCPUs(dev, spec, entry); err != nil {
		return nil, err
	}
	took.done("vcpus")
	m.log.Debug("the machine is built", took.took...)
	return m, nil
}

// addMemory maps guest memory and gives it to KVM, a slot per region.
func (m *machine) addMemory(size uint64) (err error) {
	regions := memoryRegions(size)
	if m.mem, err = guestmem.Map(regions); err != nil {
		return err
	}
	for i, r := range regions {
		host, err := m.mem.Slice(r.GuestAddr, r.Size)
		if err != nil {
			return err
		}
		if err := m.vm.SetMemory(uint32(i), r.GuestAddr, host); err != nil {
			return err
		}
	}
	return nil
}

// load puts the kernel, the initramfs and what they are told of the machine into
// its memory.
func (m *machine) load(spec hypervisor.Machine) (boot.Entry, error) {
	tables, err := acpi.Build(acpiBase, m.acpiConfig(spec.VCPUs))
	if err != nil {
		return boot.Entry{}, fmt.Errorf("make acpi tables: %w", err)
	}
	if len(tables) > maxACPITables {
		return boot.Entry{}, fmt.Errorf("make acpi tables: %d bytes for %d devices, at most %d fit", len(tables), len(m.devices), maxACPITables)
	}
	room, err := m.mem.Slice(acpiBase, uint64(len(tables)))
	if err != nil {
		return boot.Entry{}, err
	}
	copy(room, tables)
	id, err := m.mem.Slice(vmGenIDAddr, vmGenIDSize)
	if err != nil {
		return boot.Entry{}, err
	}
	rand.Read(id)
	line, err := spec.KernelCmdline(cmdline...)
	if err != nil {
		return boot.Entry{}, err
	}
	image, err := boot.OpenImage(spec.Kernel.Path)
	if err != nil {
		return boot.Entry{}, err
	}
	defer image.Close()
	entry, err := boot.Load(m.mem, boot.Params{
		Image: image, Initramfs: spec.Initramfs, Cmdline: line,
		E820: memoryMap(spec.MemoryBytes), RSDP: acpiBase,
	})
	if err != nil {
		return boot.Entry{}, err
	}
	return entry, nil
}

// addVCPUs makes the vCPUs: the first at the kernel's entry, the others waiting
// for it to start them.
func (m *machine) addVCPUs(dev *kvmapi.Device, spec hypervisor.Machine, entry boot.Entry) error {
	p, err := hostProcessor(dev, m.vm, spec.VCPUs)
	if err != nil {
		return err
	}
	p.nested = m.nested
	if m.msrs, err = dev.MSRIndexList(); err != nil {
		return err
	}
	for id := range p.count {
		api, err := m.vm.CreateVCPU(id)
		if err != nil {
			return err
		}
		c := &vcpu{id: id, api: api}
		m.vcpus = append(m.vcpus, c)
		// Now: once the vCPU runs, KVM answers no question before it has left the guest.
		if c.stats, err = api.StatsFD(); err != nil {
			m.log.Debug("exits are not counted", "error", err)
		}
		if id == 0 {
			if p.tscKHz, err = api.TSCKHz(); err != nil {
				m.log.Debug("the processor's TSC frequency is not known", "error", err)
				p.tscKHz = 0
			}
		}
		if err := api.SetCPUID(p.cpuid(id)); err != nil {
			return err
		}
		if err := firmwareMSRs(api); err != nil {
			return err
		}
	}
	return enterKernel(m.vcpus[0].api, entry)
}

func hostProcessor(dev *kvmapi.Device, vm *kvmapi.VM, count int) (processor, error) {
	p := processor{count: count}
	most, err := vm.CheckExtension(kvmapi.CapMaxVCPUs)
	if err != nil {
		return p, err
	}
	if count > most {
		return p, fmt.Errorf("%d vCPUs: this host's KVM allows %d", count, most)
	}
	deadline, err := vm.CheckExtension(kvmapi.CapTSCDeadlineTimer)
	if err != nil {
		return p, err
	}
	p.tscDeadline = deadline != 0
	p.leaves, err = dev.SupportedCPUID()
	return p, err
}
