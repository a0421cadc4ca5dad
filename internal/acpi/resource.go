package acpi

import (
	"encoding/binary"
	"slices"
)

// Resource descriptors (ACPI 6.4, 6.4.2 and 6.4.3).
const (
	resIOPorts  = 0x47 // small, 7 bytes
	resEnd      = 0x79 // small, 1 byte
	resMemory32 = 0x86 // large
	resExtIRQ   = 0x89 // large

	ioDecode16 = 1
	memWritten = 1 // by the guest, as well as read

	irqConsumer = 1 << 0
	irqEdge     = 1 << 1 // and active high, as bit 2 is clear
	irqShared   = 1 << 3
)

// sharing says whether other devices may have the interrupt of one.
type sharing uint8

const (
	exclusive sharing = 0
	shared    sharing = irqShared
)

// resources returns the buffer of a _CRS. The end tag's checksum is zero, which
// means that there is none (6.4.2.9): the table has its own.
func resources(descriptors ...[]byte) []byte {
	return buffer(append(slices.Concat(descriptors...), resEnd, 0))
}

func memory(base, size uint32) []byte {
	le := binary.LittleEndian
	d := []byte{resMemory32, 9, 0, memWritten}
	d = le.AppendUint32(d, base)
	return le.AppendUint32(d, size)
}

func ioPorts(first uint16, count uint8) []byte {
	le := binary.LittleEndian
	d := []byte{resIOPorts, ioDecode16}
	d = le.AppendUint16(d, first)
	d = le.AppendUint16(d, first)
	return append(d, 1, count) // aligned to 1
}

// interrupt returns an edge-triggered, active high interrupt. The form is the
// extended one, which can name any GSI.
func interrupt(gsi uint32, s sharing) []byte {
	return binary.LittleEndian.AppendUint32([]byte{resExtIRQ, 6, 0, irqConsumer | irqEdge | uint8(s), 1}, gsi)
}
