package boot

import (
	"encoding/binary"
	"testing"
)

// flatMemory is guest memory from address 0.
type flatMemory []byte

func (m flatMemory) Slice(addr, n uint64) ([]byte, error) { return m[addr : addr+n], nil }

// TestGDT takes the descriptors apart as a processor does (Intel SDM vol. 3A,
// 3.4.5).
func TestGDT(t *testing.T) {
	b := make([]byte, gdtSize)
	putGDT(b)
	for i, want := range map[int]struct{ access, flags byte }{
		0: {0, 0},
		1: {0, 0},
		2: {0x9b, 0xa}, // present, code, execute and read; 4 KiB granularity, long
		3: {0x93, 0xc}, // present, data, read and write; 4 KiB granularity, 32 bit
	} {
		d := b[8*i:]
		if d[5] != want.access || d[6]>>4 != want.flags {
			t.Errorf("descriptor %d: access %#x, flags %#x", i, d[5], d[6]>>4)
		}
		base := uint32(d[2]) | uint32(d[3])<<8 | uint32(d[4])<<16 | uint32(d[7])<<24
		limit := uint32(d[0]) | uint32(d[1])<<8 | uint32(d[6]&0xf)<<16
		if base != 0 || i >= 2 && limit != 0xfffff {
			t.Errorf("descriptor %d: base %#x, limit %#x", i, base, limit)
		}
	}
}

// translate walks the page tables at cr3 as a processor does.
func translate(mem flatMemory, cr3, addr uint64) (uint64, bool) {
	const mask = 0x000ffffffffff000
	table := cr3
	for _, shift := range []uint{39, 30, 21, 12} {
		entry := binary.LittleEndian.Uint64(mem[table+8*(addr>>shift&511):])
		if entry&3 != 3 { // present, writable
			return 0, false
		}
		if entry&(1<<7) != 0 || shift == 12 {
			offset := uint64(1)<<shift - 1
			return entry&mask&^offset | addr&offset, true
		}
		table = entry & mask
	}
	return 0, false
}

func TestPageTables(t *testing.T) {
	mem := make(flatMemory, PageTableAddr+pageTablesSize)
	putPageTables(mem[PageTableAddr:], PageTableAddr)
	for addr := uint64(0); addr < 4<<30; addr += hugePage {
		for _, a := range []uint64{addr, addr + 0x1234, addr + hugePage - 1} {
			if got, ok := translate(mem, PageTableAddr, a); !ok || got != a {
				t.Fatalf("%#x is mapped to %#x, %v", a, got, ok)
			}
		}
	}
	for _, a := range []uint64{4 << 30, 1 << 39, 1<<48 - 1} {
		if got, ok := translate(mem, PageTableAddr, a); ok {
			t.Errorf("%#x is mapped to %#x", a, got)
		}
	}
	if end := uint64(len(mem)); end > CmdlineAddr {
		t.Errorf("the page tables end at %#x, in the command line", end)
	}
}
