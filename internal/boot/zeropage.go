package boot

import "encoding/binary"

// Offsets in the zero page, struct boot_params, beside the setup header, which
// has the same place in it as in a bzImage (Linux,
// Documentation/arch/x86/zero-page.rst).
const (
	offACPIRSDP    = 0x070
	offE820Entries = 0x1e8
	offE820Table   = 0x2d0
)

// Values in the setup header (boot.rst, "Details of Header Fields").
const (
	loaderUndefined = 0xff   // type_of_loader: one without a number
	loadedHigh      = 1 << 0 // loadflags: the kernel is at 1 MiB or above
	canUseHeap      = 1 << 7 // loadflags: heap_end_ptr is set
	vidModeNormal   = 0xffff // vid_mode

	// elfProtocol is the boot protocol that is followed for an ELF kernel,
	// which does not say one. acpi_rsdp_addr came with 2.14.
	elfProtocol = 0x020f
	// elfAlignment is the least that x86-64 needs (Linux, MIN_KERNEL_ALIGN).
	elfAlignment = 2 * mib
)

// elfSetupHeader is the setup header for a kernel whose file has none.
func elfSetupHeader() []byte {
	le := binary.LittleEndian
	h := make([]byte, headerEnd-offSetupSects)
	le.PutUint16(h[offBootFlag-offSetupSects:], bootFlag)
	copy(h[offMagic-offSetupSects:], headerMagic)
	le.PutUint16(h[offProtocol-offSetupSects:], elfProtocol)
	le.PutUint32(h[offAlignment-offSetupSects:], elfAlignment)
	return h
}

// zeroPage is what the zero page tells the kernel.
type zeroPage struct {
	header                       []byte // from offSetupSects on
	kernel, rsdp                 uint64 // guest-physical
	initramfsAddr, initramfsSize uint32
	ram                          memoryMap
}

// put writes the zero page to page.
func (z zeroPage) put(page []byte) {
	le := binary.LittleEndian
	clear(page)
	copy(page[offSetupSects:], z.header)
	le.PutUint16(page[offVidMode:], vidModeNormal)
	page[offTypeOfLoader] = loaderUndefined
	page[offLoadFlags] = page[offLoadFlags]&^canUseHeap | loadedHigh
	le.PutUint32(page[offCode32Start:], uint32(z.kernel))
	le.PutUint32(page[offRamdiskImage:], z.initramfsAddr)
	le.PutUint32(page[offRamdiskSize:], z.initramfsSize)
	le.PutUint32(page[offCmdLinePtr:], CmdlineAddr)
	le.PutUint64(page[offSetupData:], 0)
	le.PutUint64(page[offACPIRSDP:], z.rsdp)
	page[offE820Entries] = byte(len(z.ram))
	z.ram.put(page[offE820Table:])
}
