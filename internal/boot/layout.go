package boot

import (
	"cmp"
	"fmt"
	"slices"
)

const (
	mib      = 1 << 20
	pageSize = 4096

	// kernelStart is the lowest address of a kernel: below it is what Load
	// itself puts there, and what the machine has there.
	kernelStart = 1 * mib
	// initramfsMargin stays free between the kernel and the initramfs.
	initramfsMargin = 2 * mib
)

// place checks that the kernel's place is there, and returns the address of an
// initramfs of the given size, which is 0 for none. It lies below lowRAMEnd.
func place(img *Image, initramfs uint64, ram memoryMap) (addr uint64, err error) {
	kernelEnd, err := placeKernel(img.segments, ram, initramfs)
	if err != nil || initramfs == 0 {
		return 0, err
	}
	return placeInitramfs(initramfs, kernelEnd, img.initrdEnd, ram)
}

// placeKernel checks that the segments lie apart and in RAM below lowRAMEnd,
// and returns the end of the highest. initramfs is the size of what will follow,
// for the error that says how much memory is needed.
func placeKernel(segments []segment, ram memoryMap, initramfs uint64) (end uint64, err error) {
	sorted := slices.Clone(segments)
	slices.SortFunc(sorted, func(a, b segment) int { return cmp.Compare(a.addr, b.addr) })
	end = kernelStart
	for _, s := range sorted {
		if s.addr < end {
			return 0, fmt.Errorf("%w: the segment at %#x is below 1 MiB or overlaps another", ErrNotKernel, s.addr)
		}
		end = s.addr + s.memsz
	}
	if end > ram.top() {
		return 0, tooLittle(ram, end, initramfs)
	}
	for _, s := range sorted {
		if !ram.holds(s.addr, s.memsz) {
			return 0, fmt.Errorf("the kernel's %d bytes at %#x are not all in RAM", s.memsz, s.addr)
		}
	}
	return end, nil
}

// placeInitramfs returns where the size bytes of the initramfs go: as high as
// possible below limit, above the kernel that ends at kernelEnd.
func placeInitramfs(size, kernelEnd, limit uint64, ram memoryMap) (uint64, error) {
	if addr, ok := ram.highest(size, kernelEnd+initramfsMargin, limit); ok {
		return addr, nil
	}
	if needed(kernelEnd, size) > ram.top() {
		return 0, tooLittle(ram, kernelEnd, size)
	}
	return 0, fmt.Errorf("there is no place for an initramfs of %d bytes between the kernel, which ends at %#x, and %#x", size, kernelEnd, limit)
}

// needed is the memory, in bytes, that holds a kernel and its initramfs.
func needed(kernelEnd, initramfs uint64) uint64 {
	if initramfs == 0 {
		return kernelEnd
	}
	return kernelEnd + initramfsMargin + (initramfs+pageSize-1)&^(pageSize-1)
}

func tooLittle(ram memoryMap, kernelEnd, initramfs uint64) error {
	if kernelEnd > lowRAMEnd || initramfs > lowRAMEnd || needed(kernelEnd, initramfs) > lowRAMEnd {
		return fmt.Errorf("this kernel, which ends at %#x, and its initramfs of %d bytes do not fit below %d MiB", kernelEnd, initramfs, lowRAMEnd/mib)
	}
	return fmt.Errorf("%d MiB of memory are too little for this kernel: it needs at least %d MiB", ram.top()/mib, (needed(kernelEnd, initramfs)+mib-1)/mib)
}
