package boot

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// Offsets in the ELF header and in a program header (System V ABI, ELF-64).
const (
	elfHeaderSize        = 64
	elfProgramHeaderSize = 56

	offElfClass     = 4
	offElfData      = 5
	offElfType      = 16
	offElfMachine   = 18
	offElfEntry     = 24
	offElfPhoff     = 32
	offElfPhentsize = 54
	offElfPhnum     = 56
)

// maxProgramHeaders is far above the handful that a kernel has.
const maxProgramHeaders = 64

// programHeader is an entry of an ELF file's program header table. Its bytes
// in the file lie inside the file, and its range of memory does not wrap.
type programHeader struct {
	kind                elf.ProgType
	off, filesz         int64
	vaddr, paddr, memsz uint64
}

// readProgramHeaders reads what is needed to load the ELF kernel of size bytes
// in r: the entry point as the file has it, and the program headers. Sections
// are of no interest, and a kernel may have hundreds.
func readProgramHeaders(r io.ReaderAt, size int64) (entry uint64, headers []programHeader, err error) {
	if size < elfHeaderSize {
		return 0, nil, fmt.Errorf("%w: %d bytes are too short for an ELF file", ErrNotKernel, size)
	}
	head := make([]byte, elfHeaderSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return 0, nil, fmt.Errorf("read ELF header: %w", err)
	}
	le := binary.LittleEndian
	kind, machine := elf.Type(le.Uint16(head[offElfType:])), elf.Machine(le.Uint16(head[offElfMachine:]))
	switch {
	case string(head[:4]) != elf.ELFMAG:
		return 0, nil, fmt.Errorf("%w: not an ELF file", ErrNotKernel)
	case head[offElfClass] != byte(elf.ELFCLASS64) || head[offElfData] != byte(elf.ELFDATA2LSB) || machine != elf.EM_X86_64:
		return 0, nil, fmt.Errorf("%w: an ELF file for %s, want a 64-bit one for x86-64", ErrNotKernel, machine)
	case kind != elf.ET_EXEC:
		return 0, nil, fmt.Errorf("%w: an ELF file of type %s, want ET_EXEC", ErrNotKernel, kind)
	}
	n := int64(le.Uint16(head[offElfPhnum:]))
	phoff, phentsize := le.Uint64(head[offElfPhoff:]), le.Uint16(head[offElfPhentsize:])
	if n > maxProgramHeaders || n > 0 && phentsize != elfProgramHeaderSize {
		return 0, nil, fmt.Errorf("%w: %d program headers of %d bytes", ErrNotKernel, n, phentsize)
	}
	if phoff > uint64(size) || n*elfProgramHeaderSize > size-int64(phoff) {
		return 0, nil, fmt.Errorf("%w: %d program headers at %#x are outside the file", ErrNotKernel, n, phoff)
	}
	table := make([]byte, n*elfProgramHeaderSize)
	if _, err := r.ReadAt(table, int64(phoff)); err != nil && n > 0 {
		return 0, nil, fmt.Errorf("read program headers: %w", err)
	}
	for ; len(table) > 0; table = table[elfProgramHeaderSize:] {
		h, err := parseProgramHeader(table, uint64(size))
		if err != nil {
			return 0, nil, err
		}
		headers = append(headers, h)
	}
	return le.Uint64(head[offElfEntry:]), headers, nil
}

// parseProgramHeader reads the program header that b starts with, of a file of
// size bytes.
func parseProgramHeader(b []byte, size uint64) (programHeader, error) {
	le := binary.LittleEndian
	off, filesz := le.Uint64(b[8:]), le.Uint64(b[32:])
	h := programHeader{
		kind:  elf.ProgType(le.Uint32(b)),
		off:   int64(off),
		vaddr: le.Uint64(b[16:]), paddr: le.Uint64(b[24:]),
		filesz: int64(filesz), memsz: le.Uint64(b[40:]),
	}
	if off > size || filesz > size-off {
		return h, fmt.Errorf("%w: a segment of %d bytes at %d is outside the file", ErrNotKernel, filesz, off)
	}
	if h.kind == elf.PT_LOAD && (filesz > h.memsz || h.paddr+h.memsz < h.paddr) {
		return h, fmt.Errorf("%w: a segment of %d bytes has no room in its %d bytes of memory at %#x", ErrNotKernel, filesz, h.memsz, h.paddr)
	}
	return h, nil
}
