package kvm

import (
	"fmt"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/virtio/mmio"
)

// The guest-physical address space. Memory is on both sides of a window from
// 3 to 4 GiB, in which everything else lies that has an address.
const (
	lowMemoryEnd   = 3 << 30
	highMemory     = 4 << 30
	maxMemory      = 1 << 40 // bytes; processors may address less, 2^39 or even 2^36
	virtioBase     = 0xD000_0000
	virtioStride   = mmio.WindowSize
	ioapicBase     = 0xFEC0_0000
	lapicBase      = 0xFEE0_0000
	identityMap    = 0xFFFB_C000 // a page for KVM on Intel (api.rst, 4.78)
	taskStateBase  = 0xFFFB_D000 // three pages for KVM on Intel (api.rst, 4.76)
	realModeEnd    = 0x9_FC00    // where a PC's extended BIOS data would begin
	acpiBase       = 0xE_0000    // where firmware keeps its tables
	acpiEnd        = 0x10_0000
	vmGenIDAddr    = acpiEnd - 0x1000 // the generation id has the tables' last page
	vmGenIDSize    = 16               // bytes
	maxACPITables  = vmGenIDAddr - acpiBase
	protectedStart = 0x10_0000 // the first address above a PC's legacy hole
)

// memoryRegions splits size bytes of guest memory around the window.
func memoryRegions(size uint64) []guestmem.Region {
	if size <= lowMemoryEnd {
		return []guestmem.Region{{Size: size}}
	}
	return []guestmem.Region{{Size: lowMemoryEnd}, {GuestAddr: highMemory, Size: size - lowMemoryEnd}}
}

// memoryMap is what the firmware of a PC would say about size bytes of memory.
func memoryMap(size uint64) []boot.E820Entry {
	regions := memoryRegions(size)
	m := []boot.E820Entry{
		{Addr: 0, Size: realModeEnd, Type: boot.E820RAM},
		{Addr: acpiBase, Size: acpiEnd - acpiBase, Type: boot.E820Reserved},
		{Addr: protectedStart, Size: regions[0].Size - protectedStart, Type: boot.E820RAM},
	}
	for _, r := range regions[1:] {
		m = append(m, boot.E820Entry{Addr: r.GuestAddr, Size: r.Size, Type: boot.E820RAM})
	}
	return m
}

func checkMemory(size uint64) error {
	if size == 0 || size%(1<<20) != 0 || size > maxMemory {
		return fmt.Errorf("%d bytes of memory: a multiple of 1 MiB up to %d is needed", size, uint64(maxMemory))
	}
	return nil
}
