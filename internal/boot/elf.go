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

	r    io.ReaderAt
	size int64
}

// ParseELF reads the headers and notes of the size bytes in r. It returns
// ErrNotKernel when they are not an x86-64 kernel.
func ParseELF(r io.ReaderAt, size int64) (*ELFKernel, error) {
	r = io.NewSectionReader(r, 0, size)
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotKernel, err)
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("%w: an ELF file for %s, want a 64-bit one for x86-64", ErrNotKernel, f.Machine)
	}
	if f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("%w: an ELF file of type %s, want ET_EXEC", ErrNotKernel, f.Type)
	}
	k := &ELFKernel{r: r, size: size}
	loads := 0
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			if p.Off > uint64(size) || p.Filesz > uint64(size)-p.Off || p.Filesz > p.Memsz {
				return nil, fmt.Errorf("%w: a segment of %d bytes at %d is outside the file", ErrNotKernel, p.Filesz, p.Off)
			}
			loads++
		case elf.PT_NOTE:
			if k.PVHEntry != 0 || p.Filesz > maxNoteSegment {
				continue
			}
			notes := make([]byte, p.Filesz)
			if _, err := p.ReadAt(notes, 0); err != nil && p.Filesz > 0 {
				return nil, fmt.Errorf("%w: read notes: %w", ErrNotKernel, err)
			}
			k.PVHEntry = pvhEntry(notes)
		}
	}
	if loads == 0 {
		return nil, fmt.Errorf("%w: an ELF file with nothing to load", ErrNotKernel)
	}
	return k, nil
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
