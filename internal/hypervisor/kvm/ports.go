package kvm

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/holtvm/holt/internal/acpi"
	"github.com/holtvm/holt/internal/serial"
)

// I/O ports of the machine. Those of power management are ours to choose: the
// guest learns them from the ACPI tables.
const (
	serialPort       = 0x3F8 // COM1
	serialPorts      = 8
	keyboardCommand  = 0x64 // of a PC's keyboard controller
	pciAddressPort   = 0xCF8
	pciAddressPorts  = 4
	keyboardReset    = 0xFE // "pulse the reset line": how a PC without ACPI resets itself
	powerPort        = 0x600
	sleepControlPort = powerPort     // ACPI 6.4, 4.8.3.7
	sleepStatusPort  = powerPort + 1 // ACPI 6.4, 4.8.3.7
	resetPort        = powerPort + 2 // ACPI 6.4, 4.8.3.6
	powerPorts       = 3
	resetValue       = 1
)

// Bits of the sleep control register (ACPI 6.4, 4.8.3.7).
const (
	sleepTypeShift = 2
	sleepTypeMask  = 7
	sleepEnable    = 1 << 5
)

// power ends the machine when the guest asks for it.
type power struct{ end func(ending) }

// Read implements handler: neither register has a state. "Awake" is no bit set.
func (power) Read(_ uint64, p []byte) { clear(p) }

// Write implements handler.
func (w power) Write(off uint64, p []byte) {
	if len(p) == 0 {
		return
	}
	switch v := p[0]; powerPort + off {
	case sleepControlPort:
		if v&sleepEnable != 0 && v>>sleepTypeShift&sleepTypeMask == acpi.S5Type {
			w.end(ending{kind: poweredOff})
		}
	case resetPort:
		if v == resetValue {
			w.end(ending{kind: reset})
		}
	}
}

// keyboard is as much of a keyboard controller as a reset needs.
type keyboard struct{ end func(ending) }

// Read implements handler: the controller is ready for a command. All ones, as of
// an absent one, would mean that it is busy, for as long as anybody waits.
func (keyboard) Read(_ uint64, p []byte) { clear(p) }

// Write implements handler.
func (k keyboard) Write(_ uint64, p []byte) {
	if len(p) > 0 && p[0] == keyboardReset {
		k.end(ending{kind: reset})
	}
}

// comPort is the UART at its ports. Registers are a byte each; a wider access
// touches only the first, as on an 8-bit bus.
type comPort struct{ uart *serial.UART }

// Read implements handler.
func (c comPort) Read(off uint64, p []byte) {
	clear(p)
	if len(p) > 0 {
		p[0] = c.uart.Read(uint8(off))
	}
}

// Write implements handler.
func (c comPort) Write(off uint64, p []byte) {
	if len(p) > 0 {
		c.uart.Write(uint8(off), p[0])
	}
}

// pciAddress is the register by which Linux tells a PC with PCI from one without:
// it keeps what is written. Behind it there is nothing.
type pciAddress struct{ value atomic.Uint32 }

// Read implements handler.
func (r *pciAddress) Read(off uint64, p []byte) {
	clear(p)
	if off == 0 && len(p) == pciAddressPorts {
		binary.LittleEndian.PutUint32(p, r.value.Load())
	}
}

// Write implements handler.
func (r *pciAddress) Write(off uint64, p []byte) {
	if off == 0 && len(p) == pciAddressPorts {
		r.value.Store(binary.LittleEndian.Uint32(p))
	}
}
