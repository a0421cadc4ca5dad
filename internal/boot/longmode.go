package boot

import "encoding/binary"

// Descriptors of the boot GDT (Intel SDM vol. 3A, 3.4.5): flat, 4 GiB, present,
// ring 0, already accessed.
const (
	code64Descriptor = 0x00af_9b00_0000_ffff // long mode, execute and read
	dataDescriptor   = 0x00cf_9300_0000_ffff // read and write
	gdtSize          = 4 * 8
)

// putGDT writes the boot GDT to b: 0x10 is __BOOT_CS, 0x18 is __BOOT_DS
// (boot.rst, "64-bit Boot Protocol").
func putGDT(b []byte) {
	le := binary.LittleEndian
	clear(b[:0x10])
	le.PutUint64(b[0x10:], code64Descriptor)
	le.PutUint64(b[0x18:], dataDescriptor)
}

// Bits of a page table entry (Intel SDM vol. 3A, 4.5.4).
const (
	ptePresent  = 1 << 0
	pteWritable = 1 << 1
	pteHuge     = 1 << 7 // in a page directory: a 2 MiB page

	hugePage        = 2 * mib
	tableEntries    = pageSize / 8
	pageDirectories = 4 // 1 GiB each
	pageTablesSize  = (2 + pageDirectories) * pageSize
)

// putPageTables writes page tables to b, which is at guest address addr, that
// map the first 4 GiB to themselves: a PML4, a page directory pointer table
// and page directories. Pages of 2 MiB are what every x86-64 processor has.
func putPageTables(b []byte, addr uint64) {
	le := binary.LittleEndian
	clear(b[:2*pageSize])
	const table = ptePresent | pteWritable
	le.PutUint64(b, addr+pageSize|table)
	for i := range uint64(pageDirectories) {
		le.PutUint64(b[pageSize+8*i:], addr+(2+i)*pageSize|table)
	}
	for i := range uint64(pageDirectories * tableEntries) {
		le.PutUint64(b[2*pageSize+8*i:], i*hugePage|table|pteHuge)
	}
}
