package kvm

import (
	"log/slog"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/kvmapi"
	"github.com/holtvm/holt/internal/serial"
)

// machine is everything that a virtual machine consists of.
type machine struct {
	log     *slog.Logger
	vm      *kvmapi.VM
	mem     *guestmem.Memory
	vcpus   []*vcpu
	nested  bool     // the guest may run guests of its own
	msrs    []uint32 // that hold state, on this host
	memory  bus      // what vCPUs find at addresses without memory
	ports   bus
	uart    *serial.UART
	devices []*device
	irqs    []interrupt // that are not a device's own
	button  interrupt   // among them, the power button's
	gate    *gate
	begin   func() error // does once what is left to do when the first vCPU is about to run
	ended   chan ending  // gets the first end's argument
}

func newMachine(spec hypervisor.Machine) *machine {
	return &machine{
		log: spec.Logger, nested: spec.Nested, gate: newGate(spec.VCPUs), begin: func() error { return nil }, ended: make(chan ending, 1),
	}
}

// end ends the machine. The first call counts. It does not wait.
func (m *machine) end(e ending) {
	select {
	case m.ended <- e:
	default:
	}
}

// close releases what the machine has. No vCPU may run. What KVM holds of the
// devices' descriptors goes with its machine.
func (m *machine) close() {
	for _, c := range m.vcpus {
		_ = c.api.Close()
		if c.stats != nil {
			_ = c.stats.Close()
		}
	}
	if m.vm != nil {
		_ = m.vm.Close()
	}
	for _, d := range m.devices {
		_ = d.transport.Close()
	}
	for _, i := range m.irqs {
		i.close()
	}
	if m.uart != nil {
		m.uart.Flush()
	}
	if m.mem != nil {
		_ = m.mem.Close()
	}
}
