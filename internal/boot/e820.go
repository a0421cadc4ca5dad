package boot

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Kinds of memory in an [E820Entry] (ACPI 6.5, table 15.4).
const (
	E820RAM      = 1
	E820Reserved = 2
	E820ACPI     = 3
)

// E820Entry is a range of guest-physical addresses and what is there.
type E820Entry struct {
	Addr, Size uint64 // bytes; Size is not 0
	Type       uint32 // E820RAM, E820Reserved or E820ACPI
}

const (
	e820EntrySize = 20
	// maxE820 is how many entries the zero page has room for (Linux,
	// E820_MAX_ENTRIES_ZEROPAGE).
	maxE820 = 128
	// lowRAMEnd is where RAM makes room for the devices below 4 GiB.
	lowRAMEnd = 3 << 30
)

// memoryMap is a list of entries, sorted by address, that do not overlap.
type memoryMap []E820Entry

func newMemoryMap(entries []E820Entry) (memoryMap, error) {
	if len(entries) > maxE820 {
		return nil, fmt.Errorf("memory map has %d entries, at most %d are possible", len(entries), maxE820)
	}
	m := slices.Clone(entries)
	slices.SortFunc(m, func(a, b E820Entry) int { return cmp.Compare(a.Addr, b.Addr) })
	end := uint64(0)
	for _, e := range m {
		if e.Addr < end || e.Size == 0 || e.Addr+e.Size < e.Addr {
			return nil, fmt.Errorf("memory map: the entry of %#x bytes at %#x is empty, wraps or overlaps another", e.Size, e.Addr)
		}
		end = e.Addr + e.Size
	}
	return m, nil
}

// holds says whether the size bytes at addr are all RAM. They may not wrap.
func (m memoryMap) holds(addr, size uint64) bool {
	return slices.ContainsFunc(m, func(e E820Entry) bool {
		return e.Type == E820RAM && addr >= e.Addr && addr+size <= e.Addr+e.Size
	})
}

// top returns the end of the RAM below lowRAMEnd.
func (m memoryMap) top() uint64 {
	top := uint64(0)
	for _, e := range m {
		if e.Type == E820RAM && e.Addr < lowRAMEnd {
			top = min(e.Addr+e.Size, lowRAMEnd)
		}
	}
	return top
}

// highest finds the highest page-aligned place for size bytes in RAM between
// start and end.
func (m memoryMap) highest(size, start, end uint64) (addr uint64, ok bool) {
	for _, e := range slices.Backward(m) {
		low, high := max(e.Addr, start), min(e.Addr+e.Size, end)
		if e.Type != E820RAM || high < low || high-low < size {
			continue
		}
		if addr = (high - size) &^ (pageSize - 1); addr >= low {
			return addr, true
		}
	}
	return 0, false
}

// put writes the entries as the zero page has them to b.
func (m memoryMap) put(b []byte) {
	le := binary.LittleEndian
	for i, e := range m {
		at := b[i*e820EntrySize:]
		le.PutUint64(at, e.Addr)
		le.PutUint64(at[8:], e.Size)
		le.PutUint32(at[16:], e.Type)
	}
}
