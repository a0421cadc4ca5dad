// Package guestmem is the guest's physical memory as the host sees it.
//
// It is the only place that turns a guest address into host bytes: a device
// that wants to touch guest memory asks here, gets slices that lie wholly
// inside one mapping, and cannot do arithmetic of its own that wraps.
// Everything a guest says about its memory (descriptor addresses, lengths,
// ring positions) passes through [Memory.Slice] or [Memory.AppendSlices].
//
// An [Image] is guest memory in files: what a VM had when it was saved, and what
// others begin with.
//
// The bytes behind a slice can change at any moment, because the guest runs
// meanwhile. Whoever checks a value must copy it first.
package guestmem

import (
	"errors"
	"fmt"
	"os"
	"sort"

	"golang.org/x/sys/unix"
)

// ErrOutOfRange is wrapped by every error about an address range that is not
// wholly inside guest memory.
var ErrOutOfRange = errors.New("outside guest memory")

// Region describes one contiguous piece of guest-physical memory.
type Region struct {
	GuestAddr uint64   // first guest-physical address
	Size      uint64   // bytes; not 0
	File      *os.File // shared backing; nil for private anonymous memory
	Offset    int64    // where the region starts in File; page-aligned
}

type mapping struct {
	guest  uint64
	host   []byte
	whole  []byte // what is unmapped in the end; host lies in it
	shared bool   // backed by a file that gets what is written
}

// Memory is a set of mapped regions. Its addresses do not change after [Map] or
// [MapImage], so any number of goroutines may use it at once. What it is based on
// changes in [Memory.Rebase], which is not for use beside another method that writes
// the memory to files or asks about pages. [Memory.Close] must come last.
type Memory struct {
	maps  []mapping // sorted by guest address, not overlapping
	image *Image    // what the pages that nobody changed are read from, or nil
}

// Map maps the regions into this process. Regions must be non-empty, must not
// overlap and must not reach past the end of the 64-bit address space. Files
// stay the caller's: they may be closed once Map returns.
func Map(regions []Region) (*Memory, error) {
	sorted, err := arrange(regions)
	if err != nil {
		return nil, fmt.Errorf("map guest memory: %w", err)
	}
	m := &Memory{}
	for _, r := range sorted {
		host, whole, err := mapRegion(r)
		if err != nil {
			m.Close()
			return nil, fmt.Errorf("map guest memory: %d bytes at %#x: %w", r.Size, r.GuestAddr, err)
		}
		m.maps = append(m.maps, mapping{r.GuestAddr, host, whole, r.File != nil})
	}
	return m, nil
}

// arrange returns the regions in the order of their addresses, or why they cannot be
// guest memory.
func arrange(regions []Region) ([]Region, error) {
	sorted := append([]Region(nil), regions...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].GuestAddr < sorted[j].GuestAddr })
	var next uint64
	for _, r := range sorted {
		end := r.GuestAddr + r.Size
		switch {
		case r.Size == 0 || end < r.GuestAddr || r.Size != uint64(int(r.Size)) || int(r.Size) < 0:
			return nil, fmt.Errorf("bad region of %d bytes at %#x", r.Size, r.GuestAddr)
		case r.GuestAddr < next:
			return nil, fmt.Errorf("region at %#x overlaps the one before", r.GuestAddr)
		}
		next = end
	}
	return sorted, nil
}

// hugePage is the size of a huge page on x86-64 and of most on arm64, in bytes.
const hugePage = 2 << 20

func mapRegion(r Region) (host, whole []byte, err error) {
	const prot = unix.PROT_READ | unix.PROT_WRITE
	if r.File == nil {
		host, whole, err := congruent(r, prot)
		if err != nil {
			return nil, nil, err
		}
		// A kernel without huge pages refuses; then there are none.
		_ = unix.Madvise(host, unix.MADV_HUGEPAGE)
		return host, whole, nil
	}
	// A mapping that reaches past the end of its file faults when it is
	// touched, and the fault would end the whole monitor.
	st, err := r.File.Stat()
	if err != nil {
		return nil, nil, err
	}
	if r.Offset < 0 || r.Offset > st.Size() || r.Size > uint64(st.Size()-r.Offset) {
		return nil, nil, fmt.Errorf("the backing file has %d bytes, less than offset %d and the region need", st.Size(), r.Offset)
	}
	whole, err = unix.Mmap(int(r.File.Fd()), r.Offset, int(r.Size), prot, unix.MAP_SHARED|unix.MAP_NORESERVE)
	return whole, whole, err
}

// congruent maps private memory for r. Guest and host address are equal modulo a huge
// page's size, so that one entry of the nested page tables can map a whole huge page.
func congruent(r Region, prot int) (host, whole []byte, err error) {
	whole, err = unix.Mmap(-1, 0, int(r.Size)+hugePage, prot, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	skip := (r.GuestAddr - address(whole)) % hugePage
	return whole[skip:][:r.Size:r.Size], whole, nil
}

// Close unmaps everything. No slice of this memory may be used afterwards.
func (m *Memory) Close() error {
	var errs []error
	for _, mp := range m.maps {
		errs = append(errs, unix.Munmap(mp.whole))
	}
	m.maps = nil
	return errors.Join(errs...)
}

// Size is the total of all regions, in bytes.
func (m *Memory) Size() uint64 {
	var n uint64
	for _, mp := range m.maps {
		n += uint64(len(mp.host))
	}
	return n
}

// at returns the host bytes from addr to the end of the region that holds it,
// or nil.
func (m *Memory) at(addr uint64) []byte {
	for i := range m.maps { // two or three regions: a search would cost more
		mp := &m.maps[i]
		if off := addr - mp.guest; addr >= mp.guest && off < uint64(len(mp.host)) {
			return mp.host[off:]
		}
	}
	return nil
}

// Slice returns the n bytes at guest address addr, which must lie in one
// region. The error wraps [ErrOutOfRange]. For n = 0 the address must still
// be inside guest memory.
func (m *Memory) Slice(addr, n uint64) ([]byte, error) {
	b := m.at(addr)
	if b == nil || n > uint64(len(b)) {
		return nil, fmt.Errorf("%d bytes at %#x: %w", n, addr, ErrOutOfRange)
	}
	return b[:n:n], nil
}

// AppendSlices appends to dst the bytes [addr, addr+n), as one slice per
// region that they touch, and returns the extended dst. On error, which wraps
// [ErrOutOfRange], dst is returned as it was.
func (m *Memory) AppendSlices(dst [][]byte, addr, n uint64) ([][]byte, error) {
	out, left := dst, n
	for left > 0 {
		b := m.at(addr)
		if b == nil {
			return dst, fmt.Errorf("%d bytes at %#x: %w", left, addr, ErrOutOfRange)
		}
		k := min(left, uint64(len(b)))
		out = append(out, b[:k:k])
		left -= k
		addr += k // cannot wrap: the region ends at or below 2^64
		if addr == 0 && left > 0 {
			return dst, fmt.Errorf("%d bytes past the last address: %w", left, ErrOutOfRange)
		}
	}
	return out, nil
}
