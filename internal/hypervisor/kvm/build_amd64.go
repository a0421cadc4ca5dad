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
	if err := m.addMemory(spec); err != nil {
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
	if err := m.addVCPUs(dev, spec.VCPUs); err != nil {
		return nil, err
	}
	took.done("vcpus")
	p, err := m.hostProcessor(dev)
	if err != nil {
		return nil, err
	}
	if spec.Origin != nil {
		err = m.goOn(*spec.Origin, p)
		took.done("state")
	} else {
		err = m.boot(spec, p)
		took.done("load")
	}
	if err != nil {
		return nil, err
	}
	m.log.Debug("the machine is built", took.took...)
	return m, nil
}

// addMemory maps guest memory, which is empty or the origin's, and gives it to KVM, a
// slot per region.
func (m *machine) addMemory(spec hypervisor.Machine) (err error) {
	regions := memoryRegions(spec.MemoryBytes)
	if spec.Origin != nil {
		m.mem, err = guestmem.MapImage(regions, spec.Origin.Memory)
	} else {
		m.mem, err = guestmem.Map(regions)
	}
	if err != nil {
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

// boot puts the first vCPU at the beginning of a kernel. The others wait for it to
// start them.
func (m *machine) boot(spec hypervisor.Machine, p processor) error {
	if spec.CPUTemplate != "" {
		if err := p.limit(spec.CPUTemplate); err != nil {
			return err
		}
	}
	entry, err := m.loadKernel(spec)
	if err != nil {
		return err
	}
	for id, c := range m.vcpus {
		if err := c.show(p.cpuid(id)); err != nil {
			return err
		}
		if err := firmwareMSRs(c.api); err != nil {
			return err
		}
	}
	return enterKernel(m.vcpus[0].api, entry)
}

// loadKernel puts the kernel, the initramfs and what they are told of the machine into
// its memory.
func (m *machine) loadKernel(spec hypervisor.Machine) (boot.Entry, error) {
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
	if err := m.newGeneration(); err != nil {
		return boot.Entry{}, err
	}
	line, err := spec.KernelCmdline(cmdline...)
	if err != nil {
		return boot.Entry{}, err
	}
	image, err := boot.OpenImage(spec.Kernel.Path)
	if err != nil {
		return boot.Entry{}, err
	}
	defer image.Close()
	return boot.Load(m.mem, boot.Params{
		Image: image, Initramfs: spec.Initramfs, Cmdline: line,
		E820: memoryMap(spec.MemoryBytes), RSDP: acpiBase,
	})
}

// newGeneration gives the guest a generation id that no other machine has.
func (m *machine) newGeneration() error {
	id, err := m.mem.Slice(vmGenIDAddr, vmGenIDSize)
	if err != nil {
		return err
	}
	_, err = rand.Read(id)
	return err
}

// addVCPUs makes the vCPUs, which know nothing yet.
func (m *machine) addVCPUs(dev *kvmapi.Device, count int) error {
	most, err := m.vm.CheckExtension(kvmapi.CapMaxVCPUs)
	if err != nil {
		return err
	}
	if count > most {
		return fmt.Errorf("%d vCPUs: this host's KVM allows %d", count, most)
	}
	list, err := dev.MSRIndexList()
	if err != nil {
		return err
	}
	m.msrs = stateMSRs(list)
	for id := range count {
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
	}
	return nil
}

// hostProcessor says what this host can show the machine's vCPUs.
func (m *machine) hostProcessor(dev *kvmapi.Device) (processor, error) {
	p := processor{count: len(m.vcpus), nested: m.nested}
	deadline, err := m.vm.CheckExtension(kvmapi.CapTSCDeadlineTimer)
	if err != nil {
		return p, err
	}
	p.tscDeadline = deadline != 0
	if p.tscKHz, err = m.vcpus[0].api.TSCKHz(); err != nil {
		m.log.Debug("the processor's TSC frequency is not known", "error", err)
		p.tscKHz = 0
	}
	told, err := dev.FeatureMSRs([]uint32{msrArchCapabilities})
	if err != nil {
		return p, err
	}
	p.immune, _ = msr(told, msrArchCapabilities)
	p.leaves, err = dev.SupportedCPUID()
	return p, err
}
