package kvm

import (
	"testing"

	"github.com/holtvm/holt/internal/boot"
)

var sizes = []uint64{64 << 20, 128 << 20, 512 << 20, lowMemoryEnd - 1<<20, lowMemoryEnd, lowMemoryEnd + 1<<20, 6 << 30, maxMemory}

func TestMemoryRegions(t *testing.T) {
	for _, size := range sizes {
		var total, next uint64
		for _, r := range memoryRegions(size) {
			if r.Size == 0 || r.GuestAddr < next {
				t.Errorf("%d MiB: a region of %#x bytes at %#x, the one before ends at %#x", size>>20, r.Size, r.GuestAddr, next)
			}
			next = r.GuestAddr + r.Size
			total += r.Size
			if r.GuestAddr < highMemory && next > lowMemoryEnd {
				t.Errorf("%d MiB: memory from %#x to %#x is in the window", size>>20, r.GuestAddr, next)
			}
		}
		if total != size {
			t.Errorf("%d MiB: regions have %d", size>>20, total>>20)
		}
	}
}

// TestMemoryMap: every byte that the guest is told of is there, and none of it is
// a device's or the tables'.
func TestMemoryMap(t *testing.T) {
	taken := map[string][2]uint64{
		"the window":     {lowMemoryEnd, highMemory},
		"the tables":     {acpiBase, acpiEnd},
		"a PC's legacy":  {realModeEnd, protectedStart},
		"the generation": {vmGenIDAddr, vmGenIDAddr + 0x1000},
	}
	for _, size := range sizes {
		var next, ram uint64
		for _, e := range memoryMap(size) {
			end := e.Addr + e.Size
			if e.Size == 0 || end < e.Addr || e.Addr < next {
				t.Errorf("%d MiB: %#x bytes at %#x, the entry before ends at %#x", size>>20, e.Size, e.Addr, next)
			}
			next = end
			if e.Type != boot.E820RAM {
				continue
			}
			ram += e.Size
			inside := false
			for _, r := range memoryRegions(size) {
				inside = inside || e.Addr >= r.GuestAddr && end <= r.GuestAddr+r.Size
			}
			if !inside {
				t.Errorf("%d MiB: no memory from %#x to %#x", size>>20, e.Addr, end)
			}
			for what, w := range taken {
				if e.Addr < w[1] && end > w[0] {
					t.Errorf("%d MiB: memory from %#x to %#x is over %s", size>>20, e.Addr, end, what)
				}
			}
		}
		if want := size - (protectedStart - realModeEnd); ram != want {
			t.Errorf("%d MiB: the guest is told of %#x bytes, want %#x", size>>20, ram, want)
		}
	}
}

// TestFixedAddresses: what is in the window does not overlap.
func TestFixedAddresses(t *testing.T) {
	const devices = 1 << 10 // more than their tables have room for
	next := uint64(lowMemoryEnd)
	for _, w := range []struct {
		what       string
		base, size uint64
	}{
		{"devices", virtioBase, devices * virtioStride},
		{"I/O APIC", ioapicBase, 0x1000},
		{"local APIC", lapicBase, 0x1000},
		{"identity map", identityMap, 0x1000},
		{"task state", taskStateBase, 0x3000},
	} {
		if w.base < next || w.base%0x1000 != 0 || w.base+w.size > highMemory {
			t.Errorf("%s: %#x bytes at %#x, what is before ends at %#x", w.what, w.size, w.base, next)
		}
		next = w.base + w.size
	}
}

func TestCheckMemory(t *testing.T) {
	for size, ok := range map[uint64]bool{
		0: false, 1 << 20: true, 1<<20 + 4096: false, 64 << 20: true, lowMemoryEnd + 1<<20: true,
		maxMemory: true, maxMemory + 1<<20: false, ^uint64(0): false, 1 << 63: false,
	} {
		if err := checkMemory(size); (err == nil) != ok {
			t.Errorf("%#x bytes: %v", size, err)
		}
	}
}
