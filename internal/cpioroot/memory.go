package cpioroot

import (
	"fmt"

	"github.com/holtvm/holt/internal/boot"
)

const (
	mib      = 1 << 20
	pageSize = 4096

	// kernelMemory is what the kernel and the agent take of guest memory, in
	// bytes, and pageStructs the part of it that describes its pages (64 bytes for
	// each of 4096).
	kernelMemory = 64 * mib
	pageStructs  = 64

	inodeMemory = 1 << 10 // an inode of tmpfs, with its name
	linkMemory  = 8 << 10 // what the kernel notes of a hard link, PATH_MAX included

	// maxArchive is the largest archive, in bytes: kernels want all of it, and
	// themselves, below 2 GiB (boot.rst, initrd_addr_max).
	maxArchive = 1920 * mib
	// maxEntries is the greatest number of entries, and maxLinks of files with
	// several hard links: the kernel searches a list of them for each.
	maxEntries = 1 << 20
	maxLinks   = 1 << 16
)

// usage is what an archive makes the guest hold at once.
type usage struct {
	archive int64 // bytes of it
	pages   int64 // of files' contents
	inodes  int64
	links   int64 // files with several hard links
}

func pages(bytes int64) int64 { return (bytes + pageSize - 1) / pageSize }

// add counts an entry under its new name.
func (u *usage) add(h boot.CPIOHeader) {
	u.archive += boot.CPIOEntrySize(h)
	u.pages += pages(h.Size)
	u.inodes++
}

// memory is how much memory, in bytes, a guest needs to unpack the archive. The
// kernel's tmpfs may take half of the memory that is not the archive's, and have
// an inode for each page of that half.
func (u usage) memory() int64 {
	half := pageSize * max(u.pages, u.inodes)
	contents := pageSize*u.pages + inodeMemory*u.inodes + linkMemory*u.links
	free := u.archive + max(2*half, contents) + kernelMemory
	return free + free/(pageStructs-1)
}

// check returns an error if no guest, or none with that memory, can unpack the
// archive.
func (u usage) check(memory uint64) error {
	switch {
	case u.inodes > maxEntries:
		return fmt.Errorf("it has more than %d entries: use a directory (root_path) or a disk instead", maxEntries)
	case u.links > maxLinks:
		return fmt.Errorf("it has more than %d files with several hard links: use a directory (root_path) or a disk instead", maxLinks)
	case u.archive > maxArchive:
		return fmt.Errorf("it unpacks to more than %d MiB, which no kernel takes at boot: use a directory (root_path) or a disk instead", maxArchive/mib)
	}
	return fits(u.memory(), memory)
}

// fits returns an error if needs bytes are more than a guest's memory.
func fits(needs int64, memory uint64) error {
	if uint64(needs) <= memory {
		return nil
	}
	return fmt.Errorf("it unpacks to more than a guest with %d MiB of memory can hold: it needs at least %d MiB (memory_mb), since the kernel holds the archive and its files at once; give it more, or use a directory (root_path) or a disk instead",
		memory/mib, (needs+mib-1)/mib)
}
