package acpi

import "fmt"

// maxDevices is what the names of three hexadecimal digits can tell apart.
const maxDevices = 1 << 12

// dsdt returns the namespace. Linux numbers what it finds in the order of Devices.
func dsdt(c Config) []byte {
	var devices [][]byte
	if c.SerialPort != 0 {
		devices = append(devices, serial(c))
	}
	for i, d := range c.Devices {
		devices = append(devices, virtioMMIO(i, d))
	}
	devices = append(devices, powerButton())
	if c.VMGenIDAddr != 0 {
		devices = append(devices, vmGenID(c.VMGenIDAddr))
	}
	devices = append(devices, eventDevice(c))

	t := make([]byte, headerLen)
	t = append(t, scope(`\_SB_`, devices...)...)
	t = append(t, named(`\_S5_`, packageOf(integer(S5Type), integer(0), integer(0), integer(0)))...)
	return seal("DSDT", 2, t)
}

// serial returns a 16550. The interrupt is an extended one, whose trigger and
// polarity Linux takes as they are; those of the ISA form it would override.
func serial(c Config) []byte {
	return device("COM1",
		named("_HID", text("PNP0501")),
		named("_UID", integer(0)),
		named("_CRS", resources(ioPorts(c.SerialPort, serialPorts), interrupt(c.SerialGSI, exclusive))),
	)
}

// virtioMMIO returns device i. LNRO0005 is the id that Linux's virtio-mmio driver
// looks for; _CCA says that its accesses to memory are cache coherent.
func virtioMMIO(i int, d Device) []byte {
	return device(fmt.Sprintf("V%03X", i),
		named("_HID", text("LNRO0005")),
		named("_UID", integer(uint64(i))),
		named("_CCA", integer(1)),
		named("_CRS", resources(memory(uint32(d.Base), d.Size), interrupt(d.GSI, shared))),
	)
}

// powerButton returns the control method power button (ACPI 6.4, 4.8.2.2.1.2).
func powerButton() []byte {
	return device("PWRB", named("_HID", text("PNP0C0C")))
}

// vmGenID returns the device by which a guest learns that it was restored or
// forked ("Virtual Machine Generation ID", Microsoft, 2012). Drivers look for
// the compatible id; ADDR holds the low and the high half of the address.
func vmGenID(addr uint64) []byte {
	const id = "VM_Gen_Counter"
	return device("VGEN",
		named("_HID", text("HOLT0001")),
		named("_CID", text(id)),
		named("_DDN", text(id)),
		named("ADDR", packageOf(integer(addr&0xffff_ffff), integer(addr>>32))),
	)
}

// eventDevice returns the Generic Event Device (ACPI 6.4, 5.6.9), which turns
// interrupts into notifications. Linux takes only the first interrupt of a
// descriptor, so each has its own, and requests it in a way that cannot be shared
// with a virtio-mmio device.
func eventDevice(c Config) []byte {
	const pressed, changed = 0x80, 0x80
	interrupts := [][]byte{interrupt(c.PowerButtonGSI, exclusive)}
	events := [][]byte{ifArg0Equals(c.PowerButtonGSI, notify("PWRB", pressed))}
	if c.VMGenIDAddr != 0 {
		interrupts = append(interrupts, interrupt(c.VMGenIDGSI, exclusive))
		events = append(events, ifArg0Equals(c.VMGenIDGSI, notify("VGEN", changed)))
	}
	return device("GED_",
		named("_HID", text("ACPI0013")),
		named("_CRS", resources(interrupts...)),
		method("_EVT", 1, events...),
	)
}
