// Package snapshot keeps snapshots of VMs: what a machine needs to go on later, or
// several times.
//
// # On disk
//
// A snapshot is a directory whose name is its id. In it are
//
//	manifest.json  the [Manifest]: what it is of, what it needs, what is in it
//	state.json     what the machine knows beside its memory; opaque here
//	memory         guest memory: sparse, as large as the memory is
//	pages          which pages of memory count; only in a differential snapshot
//	disk-NAME      what a disk held: sparse, as large as the disk is
//	working-set    pages that a guest needs soon after it goes on; may come later
//
// All but the first and the last are sections: the manifest has their sizes and their
// checksums. A checksum is CRC-32C of the whole file with zeros for its holes, so it is
// the same wherever the file is copied to, and holes cost no time. It finds what a disk
// or a person spoiled. It does not prove who wrote the snapshot: a snapshot is input
// that is not trusted, and everything in it is bounded and checked where it is read.
//
// A whole snapshot has all guest memory. A differential one has the pages that changed
// since its parent, another snapshot of the store, which can be differential as well,
// up to [MaxDepth] in all. What is not among its pages is read from its parent. Disks
// are always whole: copies share their blocks where the file system can.
//
// # How one appears, and goes
//
// A [Draft] is a directory under a temporary name. Its maker holds a lock on the file
// "lock" in it; others may write the sections, too. Commit sums the sections up, syncs
// everything, takes the lock away and renames the directory, so that at each moment the
// snapshot is there, complete, or not at all. Whoever dies before leaves a draft whose
// lock is free, and whoever comes next removes it: the kernel gives a lock up with its
// process. Removing goes the other way, through a temporary name without a lock.
//
// The store's own lock is held while a draft is made, and while a snapshot gets its
// name, goes, or gets its working set: so names are unique, no parent goes while a
// child comes, and what has no lock under a temporary name is dead.
//
// # Archives
//
// An archive is one stream with a whole snapshot, for other hosts. Numbers are
// little-endian.
//
//	header   "holtsnap", version (u32), flags (u32): bit 0, the rest is one zstd stream
//	section  length of its name (u8, not 0), name, size (u64), chunks, checksum (u32)
//	chunk    offset (u64), length (u32, 1 byte to 1 MiB), bytes; the last has the
//	         section's size as its offset, and length 0
//	end      0 (u8), number of sections (u32), checksum of their checksums (u32)
//
// A chunk begins at a multiple of 4096, after the end of the one before, and ends at a
// multiple of 4096 or at the section's end. What no chunk has is zero. A section's
// checksum is CRC-32C of all its bytes in the archive, from its name's length on.
//
// The first section is manifest.json, with neither a parent nor sections; state.json,
// memory and the saved disks follow in any order. A differential snapshot's memory is
// written as that of a whole one. The working set is left out: the first guest that
// goes on there finds a new one.
package snapshot
