package acpi

import "encoding/binary"

const (
	headerLen = 36 // of a system description table (ACPI 6.4, 5.2.6)

	oemID      = "HOLT  "
	oemTableID = "HOLTVM  "
	creatorID  = "HOLT"
)

// seal writes the header of a table whose first headerLen bytes were left for it,
// and returns the table.
func seal(signature string, revision uint8, table []byte) []byte {
	copy(table, signature)
	binary.LittleEndian.PutUint32(table[4:], uint32(len(table)))
	table[8] = revision
	copy(table[10:], oemID)
	copy(table[16:], oemTableID)
	binary.LittleEndian.PutUint32(table[24:], 1) // OEM revision
	copy(table[28:], creatorID)
	binary.LittleEndian.PutUint32(table[32:], 1) // creator revision
	table[9] = checksum(table)
	return table
}

// checksum returns the byte that makes the sum of p, in which it is still zero,
// a multiple of 256.
func checksum(p []byte) uint8 {
	var sum uint8
	for _, b := range p {
		sum += b
	}
	return -sum
}

// portRegister writes the generic address of a one-byte I/O port (ACPI 6.4,
// 5.2.3.2) to p.
func portRegister(p []byte, port uint16) {
	const systemIO, byteAccess = 1, 1
	p[0], p[1], p[2], p[3] = systemIO, 8, 0, byteAccess
	binary.LittleEndian.PutUint64(p[4:], uint64(port))
}
