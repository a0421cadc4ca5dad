// Package acpi makes the ACPI tables of Holt's own machine: what tells the guest
// kernel of its processors, interrupt controller, virtio-mmio devices, serial
// port, power button and of the registers that power off and reset.
//
// The machine is a hardware-reduced one (ACPI 6.4, 4.1): no 8259, 8254, RTC or
// 8042, no SCI and no fixed event registers, so power-off and reset are one port
// each and events arrive as interrupts of a Generic Event Device. Every object of
// the namespace costs the guest boot time (Linux evaluates some twenty methods of
// each device, there or not), so the tables hold nothing that Linux does without:
// no processor objects, no interrupt overrides, no FACS and one DSDT.
package acpi

import (
	"encoding/binary"
	"fmt"
)

// S5Type is the sleep type of S5, soft off. A guest that powers off writes
// S5Type<<2 | 1<<5 to the sleep control register (ACPI 6.4, 4.8.3.7). Linux
// writes 1<<7 to the sleep status register before that, which asks for nothing.
const S5Type = 5

// Device is a virtio-mmio device.
type Device struct {
	Base uint64 // guest address of its registers, a multiple of 4, below 4 GiB
	Size uint32 // bytes of registers
	GSI  uint32 // interrupt, 1 to 23, edge-triggered; devices may share one
}

// Config is what the tables describe. A GSI is a pin of the one IOAPIC, from 1 to
// 23; only virtio-mmio devices share one.
type Config struct {
	CPUs          int    // processors, whose APIC ids are 0 to CPUs-1
	LAPIC, IOAPIC uint32 // guest addresses of the interrupt controllers, a page each
	Devices       []Device
	SerialPort    uint16 // first of the eight ports of a 16550, 0 for none
	SerialGSI     uint32

	// Ports of one byte each, all different, none of them 0.
	SleepControlPort, SleepStatusPort, ResetPort uint16
	ResetValue                                   uint8 // what resets when written to ResetPort

	PowerButtonGSI uint32
	VMGenIDAddr    uint64 // guest address of the 16 bytes of the generation id, a multiple of 8, 0 for none
	VMGenIDGSI     uint32
}

const (
	maxBase    = 1 << 32
	tableAlign = 16
)

// Build returns the image of the tables, to be placed in the guest's memory at the
// address base, a multiple of 16, where its first byte begins the RSDP. It must
// be reserved in the guest's memory map and end below 4 GiB. The error names
// every value of c that makes no machine.
func Build(base uint64, c Config) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if base == 0 || base%tableAlign != 0 || base >= maxBase {
		return nil, fmt.Errorf("place tables: address %#x is not a multiple of %d above 0 and below 4 GiB", base, tableAlign)
	}
	image := make([]byte, rsdpLen)
	place := func(table []byte) uint64 {
		for len(image)%tableAlign != 0 {
			image = append(image, 0)
		}
		at := base + uint64(len(image))
		image = append(image, table...)
		return at
	}
	dsdtAt := place(dsdt(c))
	fadtAt := place(fadt(c, dsdtAt))
	madtAt := place(madt(c))
	xsdtAt := place(xsdt(fadtAt, madtAt))
	copy(image, rsdp(xsdtAt))

	if err := c.checkMemory(base, uint64(len(image))); err != nil {
		return nil, fmt.Errorf("place tables: %w", err)
	}
	return image, nil
}

const rsdpLen = 36

// rsdp returns the root pointer, revision 2 (ACPI 6.4, 5.2.5.3). The RSDT of 32-bit
// guests is left out.
func rsdp(xsdt uint64) []byte {
	const shortLen = 20 // what the checksum of ACPI 1.0 covers
	p := make([]byte, rsdpLen)
	copy(p, "RSD PTR ")
	copy(p[9:], oemID)
	p[15] = 2
	binary.LittleEndian.PutUint32(p[20:], rsdpLen)
	binary.LittleEndian.PutUint64(p[24:], xsdt)
	p[8] = checksum(p[:shortLen])
	p[32] = checksum(p)
	return p
}

// xsdt returns the list of tables (ACPI 6.4, 5.2.8).
func xsdt(tables ...uint64) []byte {
	t := make([]byte, headerLen)
	for _, at := range tables {
		t = binary.LittleEndian.AppendUint64(t, at)
	}
	return seal("XSDT", 1, t)
}
