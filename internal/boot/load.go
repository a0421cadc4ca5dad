package boot

import (
	"fmt"
	"os"
	"strings"
)

// Where Load puts things in low guest memory. All of it is the kernel's to
// reuse once it runs on its own page tables.
const (
	// GDTAddr is the boot GDT.
	GDTAddr = 0x500
	// ZeroPageAddr is the zero page, struct boot_params, of 4096 bytes.
	ZeroPageAddr = 0x7000
	// PageTableAddr is the first of the boot page tables, the PML4.
	PageTableAddr = 0x9000
	// CmdlineAddr is the command line, at most MaxCmdline bytes and a NUL.
	CmdlineAddr = 0x20000

	// stackTop is the end of the page between the zero page and the page
	// tables, less what a call pushes. Linux makes a stack of its own at once.
	stackTop = PageTableAddr - 16
)

// Memory is guest-physical memory.
type Memory interface {
	// Slice returns the n bytes at guest address addr, or an error when they
	// are not all memory.
	Slice(addr, n uint64) ([]byte, error)
}

// Params says what to boot.
type Params struct {
	Image     *Image
	Initramfs string      // path of the archive; "" for none
	Cmdline   string      // see Cmdline.Build
	E820      []E820Entry // the memory map; at most 128 entries, not overlapping
	RSDP      uint64      // guest address of the ACPI root pointer; 0 for none
}

// Entry is the state of the boot processor at the kernel's 64-bit entry point
// (boot.rst, "64-bit Boot Protocol"). The rest follows from the protocol: long
// mode with paging, CS 0x10, DS, ES and SS 0x18, interrupts off.
type Entry struct {
	RIP      uint64 // entry point
	RSI      uint64 // zero page
	RSP      uint64 // a small stack
	CR3      uint64 // page tables that map the first 4 GiB to themselves
	GDT      uint64 // boot GDT
	GDTLimit uint16 // its size less 1, in bytes
}

// Load puts a kernel and what it needs to start into guest memory, which must
// be fresh: what is not written is taken to be zero. It returns how to enter
// the kernel, or an error that wraps ErrNotKernel when the image cannot be
// loaded anywhere; after an error the memory has unspecified contents.
func Load(mem Memory, p Params) (Entry, error) {
	entry, err := load(mem, p)
	if err != nil {
		return Entry{}, fmt.Errorf("load kernel: %w", err)
	}
	return entry, nil
}

func load(mem Memory, p Params) (Entry, error) {
	img := p.Image
	if len(p.Cmdline) > img.maxCmdline || strings.Contains(p.Cmdline, "\x00") {
		return Entry{}, fmt.Errorf("command line has %d bytes, at most %d without a NUL are possible", len(p.Cmdline), img.maxCmdline)
	}
	ram, err := newMemoryMap(p.E820)
	if err != nil {
		return Entry{}, err
	}
	initramfs, size, err := openInitramfs(p.Initramfs)
	if err != nil {
		return Entry{}, fmt.Errorf("open initramfs: %w", err)
	}
	defer initramfs.Close()
	addr, err := place(img, uint64(size), ram)
	if err != nil {
		return Entry{}, err
	}
	for _, s := range img.segments {
		if err := readInto(mem, s.addr, img.file, s.off, s.filesz); err != nil {
			return Entry{}, err
		}
	}
	if size > 0 {
		if err := readInto(mem, addr, initramfs, 0, size); err != nil {
			return Entry{}, err
		}
	}
	z := zeroPage{
		header: img.header, kernel: img.segments[0].addr, rsdp: p.RSDP, ram: ram,
		initramfsAddr: uint32(addr), initramfsSize: uint32(size),
	}
	if err := putLow(mem, z, p.Cmdline); err != nil {
		return Entry{}, err
	}
	return Entry{
		RIP: img.entry, RSI: ZeroPageAddr, RSP: stackTop,
		CR3: PageTableAddr, GDT: GDTAddr, GDTLimit: gdtSize - 1,
	}, nil
}

// openInitramfs opens the archive at path. Without a path there is no file,
// which may be closed all the same, and no byte in it.
func openInitramfs(path string) (*os.File, int64, error) {
	if path == "" {
		return nil, 0, nil
	}
	return openRegular(path)
}

// putLow writes everything that is not from a file.
func putLow(mem Memory, z zeroPage, cmdline string) error {
	for _, part := range []struct {
		what string
		addr uint64
		size int
		put  func(b []byte)
	}{
		{"GDT", GDTAddr, gdtSize, putGDT},
		{"zero page", ZeroPageAddr, pageSize, z.put},
		{"page tables", PageTableAddr, pageTablesSize, func(b []byte) { putPageTables(b, PageTableAddr) }},
		{"command line", CmdlineAddr, len(cmdline) + 1, func(b []byte) { b[copy(b, cmdline)] = 0 }},
	} {
		if !z.ram.holds(part.addr, uint64(part.size)) {
			return fmt.Errorf("place %s: its %d bytes at %#x are not in RAM", part.what, part.size, part.addr)
		}
		b, err := mem.Slice(part.addr, uint64(part.size))
		if err != nil {
			return fmt.Errorf("place %s: %w", part.what, err)
		}
		part.put(b)
	}
	return nil
}
