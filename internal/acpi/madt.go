package acpi

import "encoding/binary"

// Structures of the MADT (ACPI 6.4, 5.2.12).
const (
	madtRevision = 5

	madtLAPIC   = 0
	madtIOAPIC  = 1
	madtX2APIC  = 9
	apicEnabled = 1

	// The first APIC id, and processor UID, that does not fit the xAPIC's
	// structure: 255 is its broadcast.
	firstX2APIC = 255
)

// madt returns the table of interrupt controllers: the processors' local APICs and
// one IOAPIC that begins at GSI 0. Its flags are zero, there is no 8259. Nothing
// is overridden: without an 8259 Linux knows no ISA interrupts, and takes trigger
// and polarity of each GSI from the device that has it.
func madt(c Config) []byte {
	le := binary.LittleEndian
	t := make([]byte, headerLen)
	t = le.AppendUint32(t, c.LAPIC)
	t = le.AppendUint32(t, 0)
	for id := range uint32(c.CPUs) {
		if id < firstX2APIC {
			t = append(t, madtLAPIC, 8, uint8(id), uint8(id))
			t = le.AppendUint32(t, apicEnabled)
			continue
		}
		t = append(t, madtX2APIC, 16, 0, 0)
		t = le.AppendUint32(t, id)
		t = le.AppendUint32(t, apicEnabled)
		t = le.AppendUint32(t, id)
	}
	t = append(t, madtIOAPIC, 12, 0, 0)
	t = le.AppendUint32(t, c.IOAPIC)
	t = le.AppendUint32(t, 0)
	return seal("APIC", madtRevision, t)
}
