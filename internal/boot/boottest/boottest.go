// Package boottest makes small kernel images and modules for tests. They have
// the right headers and nothing to run.
package boottest

import (
	"bytes"
	"encoding/binary"
	"strings"
)

var le = binary.LittleEndian

// LoadAddr is the guest-physical address that the images want to be at. Byte n
// of an ELF file's segment goes to LoadAddr+n.
const LoadAddr = 0x1000000

// InitSize is the memory, in bytes, that a BzImage says it needs to unpack.
const InitSize = 0x300000

// ELF layout shared by Vmlinux and Module (System V ABI, ELF-64).
const (
	ehdrSize = 64
	phdrSize = 56
	shdrSize = 64
)

func ehdr(kind, phnum, shnum uint16, shoff, entry uint64) []byte {
	b := make([]byte, ehdrSize)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], kind)
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], entry)
	if phnum > 0 {
		le.PutUint64(b[32:], ehdrSize)
	}
	le.PutUint64(b[40:], shoff)
	le.PutUint16(b[52:], ehdrSize)
	le.PutUint16(b[54:], phdrSize)
	le.PutUint16(b[56:], phnum)
	le.PutUint16(b[58:], shdrSize)
	le.PutUint16(b[60:], shnum)
	if shnum > 0 {
		le.PutUint16(b[62:], shnum-1)
	}
	return b
}

func phdr(kind uint32, off, size int) []byte {
	b := make([]byte, phdrSize)
	le.PutUint32(b, kind)
	le.PutUint64(b[8:], uint64(off))
	le.PutUint64(b[16:], LoadAddr+uint64(off))
	le.PutUint64(b[24:], LoadAddr+uint64(off))
	le.PutUint64(b[32:], uint64(size))
	le.PutUint64(b[40:], uint64(size))
	le.PutUint64(b[48:], 4) // QEMU divides by it
	return b
}

// Note is one ELF note.
func Note(name string, kind uint32, desc []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }
	b := le.AppendUint32(nil, uint32(len(name)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, kind)
	b = append(b, pad([]byte(name+"\x00"))...)
	return append(b, pad(desc)...)
}

// Vmlinux is an ELF kernel of the given release, with a PVH entry at pvh
// unless it is 0.
func Vmlinux(release string, pvh uint32) []byte {
	notes := Note("GNU", 3, []byte("build id"))
	if pvh != 0 {
		notes = append(notes, Note("Xen", 18, le.AppendUint64(nil, uint64(pvh)))...)
	}
	text := "Linux version %s (%s)\x00Linux version " + release + " (root@builder) #1 SMP\x00"
	const start = ehdrSize + 2*phdrSize
	b := ehdr(2, 2, 0, 0, LoadAddr+start)
	b = append(b, phdr(1, start, len(text))...)
	b = append(b, phdr(4, start+len(text), len(notes))...)
	b = append(b, text...)
	return append(b, notes...)
}

// BzImage is a kernel image of the given release around a payload, which must
// have its unpacked size as its last four bytes; see AppendSize.
func BzImage(release string, payload []byte) []byte {
	const sects, payloadOffset, versionOffset = 4, 0x400, 0x80
	b := make([]byte, (sects+1)*512+payloadOffset)
	b[0x1f1] = sects
	le.PutUint16(b[0x1fe:], 0xaa55)
	copy(b[0x200:], "\xeb\x6aHdrS")
	le.PutUint16(b[0x206:], 0x020f)
	le.PutUint16(b[0x20e:], versionOffset+0x100)
	copy(b[0x300+versionOffset:], release+" (root@builder) #1 SMP\x00")
	b[0x211] = 1                        // loadflags: LOADED_HIGH
	le.PutUint32(b[0x22c:], 0x7fffffff) // initrd_addr_max
	le.PutUint32(b[0x230:], 0x200000)   // kernel_alignment
	b[0x234] = 1                        // relocatable_kernel
	le.PutUint16(b[0x236:], 1)          // xloadflags: XLF_KERNEL_64
	le.PutUint32(b[0x238:], 2047)       // cmdline_size
	le.PutUint32(b[0x248:], payloadOffset)
	le.PutUint32(b[0x24c:], uint32(len(payload)))
	le.PutUint64(b[0x258:], LoadAddr) // pref_address
	le.PutUint32(b[0x260:], InitSize)
	return append(append(b, payload...), "tail"...)
}

// AppendSize adds what kbuild adds after a packed kernel that is not gzip.
func AppendSize(packed []byte, size int) []byte {
	return le.AppendUint32(bytes.Clone(packed), uint32(size))
}

// Module is a kernel module: its name, the release it is for, and the names
// of the modules it depends on.
func Module(name, release string, depends ...string) []byte {
	info := "license=GPL\x00depends=" + strings.Join(depends, ",") + "\x00name=" + name + "\x00vermagic=" + release + " SMP preempt mod_unload \x00"
	const names = "\x00.modinfo\x00.shstrtab\x00"
	shoff := ehdrSize + len(info) + len(names)
	b := ehdr(1, 0, 3, uint64(shoff), 0)
	b = append(b, info...)
	b = append(b, names...)
	b = append(b, make([]byte, shdrSize)...)
	b = append(b, shdr(1, 1, ehdrSize, len(info))...)
	return append(b, shdr(10, 3, ehdrSize+len(info), len(names))...)
}

func shdr(name, kind uint32, off, size int) []byte {
	b := make([]byte, shdrSize)
	le.PutUint32(b, name)
	le.PutUint32(b[4:], kind)
	le.PutUint64(b[24:], uint64(off))
	le.PutUint64(b[32:], uint64(size))
	le.PutUint64(b[48:], 1)
	return b
}

// PVHKernel is an ELF kernel that really runs: code, 32-bit and without paging,
// is what its PVH entry points to.
func PVHKernel(code []byte) []byte {
	const start = ehdrSize + 2*phdrSize
	notes := Note("Xen", 18, le.AppendUint64(nil, LoadAddr+start))
	text := string(code) + "\x00Linux version 0.0.0-holt (nobody) #1\x00"
	b := ehdr(2, 2, 0, 0, LoadAddr+start)
	b = append(b, phdr(1, start, len(text))...)
	b = append(b, phdr(4, start+len(text), len(notes))...)
	b = append(b, text...)
	return append(b, notes...)
}
