package vhostuser

import (
	"fmt"
	"math"
	"os"

	"github.com/holtvm/holt/internal/guestmem"
)

// memTable is guest memory as one SET_MEM_TABLE described it.
type memTable struct {
	mem     *guestmem.Memory
	regions []region
}

// region is struct VhostUserMemoryRegion without the offset into its file.
type region struct {
	guest uint64 // guest-physical address
	size  uint64 // bytes
	user  uint64 // address in the front end's process
}

// newMemTable maps the regions of a SET_MEM_TABLE message.
func newMemTable(m *message) (*memTable, error) {
	n := int(min(m.u32(0), maxRegions+1))
	if n > maxRegions || len(m.payload) != memTableHeader+n*regionSize || len(m.fds) != n {
		return nil, fmt.Errorf("memory table of %d regions in %d bytes with %d descriptors", m.u32(0), len(m.payload), len(m.fds))
	}
	t := &memTable{}
	files := make([]*os.File, n)
	for i := range n {
		files[i] = os.NewFile(uintptr(m.fds.take(i)), "guest memory")
		defer files[i].Close()
	}
	maps := make([]guestmem.Region, n)
	for i := range n {
		word := memTableHeader/8 + i*regionSize/8
		r := region{guest: m.u64(word), size: m.u64(word + 1), user: m.u64(word + 2)}
		offset := m.u64(word + 3)
		if offset > math.MaxInt64 {
			return nil, fmt.Errorf("memory region %d at offset %#x of its file", i, offset)
		}
		t.regions = append(t.regions, r)
		maps[i] = guestmem.Region{GuestAddr: r.guest, Size: r.size, File: files[i], Offset: int64(offset)}
	}
	mem, err := guestmem.Map(maps)
	if err != nil {
		return nil, err
	}
	t.mem = mem
	return t, nil
}

// guestAddr translates an address of the front end's process, in which the
// protocol names rings, to guest memory. What lies behind it is not checked here:
// that takes a length.
func (t *memTable) guestAddr(user uint64) (uint64, error) {
	for _, r := range t.regions {
		if off := user - r.user; user >= r.user && off < r.size {
			return r.guest + off, nil
		}
	}
	return 0, fmt.Errorf("user address %#x: %w", user, guestmem.ErrOutOfRange)
}

// close unmaps the memory; a nil table has none.
func (t *memTable) close() error {
	if t == nil {
		return nil
	}
	return t.mem.Close()
}
