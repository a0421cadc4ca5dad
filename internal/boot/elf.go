package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
)

// Xen notes in a kernel (Xen, public/elfnote.h).
const (
	xenNoteName         = "Xen\x00"
	xenNotePhys32Entry  = 18
	maxNoteSegment      = 1 << 20
	noteHeader, noteAln = 12, 4
)

// ELFKernel is an uncompressed x86-64 kernel (vmlinux).
type ELFKernel struct {
	// PVHEntry is the guest-physical address of the 32-bit PVH entry point,
	// 0 when the kernel has none (CONFIG_PVH is off). QEMU boots ELF kernels
	// through it.
	PVHEntry uint32

	r        io.ReaderAt
	size     int64
	segments []segment
	// entry is the guest-physical address of the 64-bit entry point, 0 when
	// the file's entry point is in no segment.
	entry uint64
}

// segment is a piece of a kernel file and the guest-physical memory that it
// belongs in: the file's bytes first, then zeros up to memsz. The end,
// addr+memsz, does not wrap.
type segment struct {
	off, filesz int64
	addr, memsz uint64
}

// ParseELF reads the headers and notes of the size bytes in r. It returns
// ErrNotKernel when they are not an x86-64 kernel.
func ParseELF(r io.ReaderAt, size int64) (*ELFKernel, error) {
	entry, headers, err := readProgramHeaders(r, size)
	if err != nil {
		return nil, err
	}
	k := &ELFKernel{r: r, size: size}
	for _, h := range headers {
		switch h.kind {
		case elf.PT_LOAD:
			if h.memsz == 0 {
				continue
			}
			k.segments = append(k.segments, segment{off: h.off, filesz: h.filesz, addr: h.paddr, memsz: h.memsz})
		case elf.PT_NOTE:
			if k.PVHEntry != 0 || h.filesz > maxNoteSegment {
				continue
			}
			notes := make([]byte, h.filesz)
			if _, err := r.ReadAt(notes, h.off); err != nil && h.filesz > 0 {
				return nil, fmt.Errorf("read notes: %w", err)
			}
			k.PVHEntry = pvhEntry(notes)
		}
	}
	if len(k.segments) == 0 {
		return nil, fmt.Errorf("%w: an ELF file with nothing to load", ErrNotKernel)
	}
	k.entry = physicalEntry(entry, headers)
	return k, nil
}

// physicalEntry says where the entry point is in guest-physical memory, or
// returns 0. Linux gives it as a physical address. Others that are linked like
// it give a virtual one; it is looked for second, because Linux has a segment
// (.data..percpu) at virtual addresses from 0.
func physicalEntry(entry uint64, headers []programHeader) uint64 {
	for _, h := range headers {
		if h.kind == elf.PT_LOAD && entry-h.paddr < h.memsz {
			return entry
		}
	}
	for _, h := range headers {
		if h.kind == elf.PT_LOAD && entry-h.vaddr < h.memsz {
			return h.paddr + (entry - h.vaddr)
		}
	}
	return 0
}

// pvhEntry finds the entry point in a segment of ELF notes, or returns 0.
func pvhEntry(notes []byte) uint32 {
	le := binary.LittleEndian
	align := func(n uint32) uint64 { return (uint64(n) + noteAln - 1) &^ (noteAln - 1) }
	for len(notes) >= noteHeader {
		nameSize, descSize, kind := le.Uint32(notes), le.Uint32(notes[4:]), le.Uint32(notes[8:])
		notes = notes[noteHeader:]
		if align(nameSize)+align(descSize) > uint64(len(notes)) {
			return 0
		}
		name, desc := notes[:nameSize], notes[align(nameSize):][:descSize]
		if string(name) == xenNoteName && kind == xenNotePhys32Entry && len(desc) >= 4 {
			return le.Uint32(desc)
		}
		notes = notes[align(nameSize)+align(descSize):]
	}
	return 0
}

// Release searches the kernel for its banner and returns the release in it
// (uname -r), or "" if there is none. It reads the whole file.
func (k *ELFKernel) Release() (string, error) {
	const banner = "Linux version "
	const overlap = len(banner) + maxRelease + 1
	buf := make([]byte, 1<<20)
	for off := int64(0); off < k.size; off += int64(len(buf) - overlap) {
		n, err := k.r.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("search kernel version: %w", err)
		}
		for rest := buf[:n]; ; {
			i := bytes.Index(rest, []byte(banner))
			if i < 0 {
				break
			}
			rest = rest[i+len(banner):]
			// Format strings of the banner stand in the kernel too.
			if end := bytes.IndexByte(rest, ' '); end > 0 && ValidRelease(string(rest[:min(end, maxRelease+1)])) {
				return string(rest[:end]), nil
			}
		}
	}
	return "", nil
}
