package kvm

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/acpi"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/serial"
	"github.com/holtvm/holt/internal/virtio/eventfd"
	"github.com/holtvm/holt/internal/virtio/mmio"
)

// Interrupt lines: pins of the I/O APIC. The first four have a meaning on every PC
// and are left alone.
const (
	serialGSI      = 4
	powerButtonGSI = 5
	vmGenIDGSI     = 6
	firstVirtioGSI = 7
	virtioGSIs     = 17 // 7 to 23; with more devices, several share one
)

// device is a virtio device behind its registers.
type device struct {
	transport *mmio.Transport
	base      uint64
	gsi       uint32
}

// addDevices attaches the machine's own devices and then spec's.
func (m *machine) addDevices(spec hypervisor.Machine) error {
	out := spec.Console
	if out == nil {
		out = io.Discard
	}
	line, err := m.addInterrupt(serialGSI)
	if err != nil {
		return err
	}
	m.uart = serial.New(out, line.raise)
	if m.button, err = m.addInterrupt(powerButtonGSI); err != nil {
		return err
	}
	m.ports.add(serialPort, serialPorts, comPort{m.uart})
	m.ports.add(powerPort, powerPorts, power{m.end})
	m.ports.add(pciAddressPort, pciAddressPorts, &pciAddress{})
	m.ports.add(keyboardCommand, 1, keyboard{m.end})
	for i, dev := range spec.Devices {
		t, err := mmio.New(dev, m.mem, m.log)
		if err != nil {
			return err
		}
		d := &device{transport: t, base: virtioBase + uint64(i)*virtioStride, gsi: uint32(firstVirtioGSI + i%virtioGSIs)}
		m.devices = append(m.devices, d)
		if err := d.connect(m.vm); err != nil {
			return fmt.Errorf("attach %s: %w", dev.Type(), err)
		}
		m.memory.add(d.base, virtioStride, t)
	}
	return nil
}

// connect makes KVM carry the device's notifications: a kick of a queue becomes
// an event without leaving the kernel, and an event becomes an interrupt.
func (d *device) connect(vm *kvmapi.VM) error {
	for i := range d.transport.Queues() {
		queue := uint64(i)
		if err := vm.IOEventFD(kvmapi.IOEventFD{FD: d.transport.KickFD(i), Addr: d.base + mmio.QueueNotify, Len: 4, Datamatch: &queue}); err != nil {
			return err
		}
	}
	return vm.IRQFD(d.transport.InterruptFD(), d.gsi)
}

// interrupt is a line that the machine itself raises.
type interrupt struct{ fd int }

// addInterrupt makes an edge-triggered interrupt line.
func (m *machine) addInterrupt(gsi uint32) (interrupt, error) {
	fd, err := eventfd.New()
	if err != nil {
		return interrupt{}, fmt.Errorf("make interrupt %d: %w", gsi, err)
	}
	i := interrupt{fd}
	m.irqs = append(m.irqs, i)
	return i, m.vm.IRQFD(fd, gsi)
}

func (i interrupt) raise() { eventfd.Signal(i.fd) }

func (i interrupt) close() { unix.Close(i.fd) }

// acpiConfig tells the guest where everything is.
func (m *machine) acpiConfig(vcpus int) acpi.Config {
	c := acpi.Config{
		CPUs: vcpus, LAPIC: lapicBase, IOAPIC: ioapicBase,
		SerialPort: serialPort, SerialGSI: serialGSI,
		SleepControlPort: sleepControlPort, SleepStatusPort: sleepStatusPort,
		ResetPort: resetPort, ResetValue: resetValue,
		PowerButtonGSI: powerButtonGSI,
		VMGenIDAddr:    vmGenIDAddr, VMGenIDGSI: vmGenIDGSI,
	}
	for _, d := range m.devices {
		c.Devices = append(c.Devices, acpi.Device{Base: d.base, Size: virtioStride, GSI: d.gsi})
	}
	return c
}
