package guestmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Bits of an entry in /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
// They are there for everybody; only page frame numbers are hidden.
const (
	pagemapPresent = 1 << 63
	pagemapSwapped = 1 << 62
	pagemapFile    = 1 << 61 // of a file, or shared

	pagemapEntry = 8        // bytes
	pagemapChunk = 64 << 10 // bytes that are read at once: 32 MiB of memory
)

// parts is which pages of an image each mapping has.
func (m *Memory) parts() []Run {
	parts := make([]Run, len(m.maps))
	var first uint32
	for i, mp := range m.maps {
		parts[i] = Run{first, uint32(len(mp.host) / PageSize)}
		first = parts[i].end()
	}
	return parts
}

// private refuses memory whose pages other processes may change, or that cannot be an
// image.
func (m *Memory) private() error {
	if os.Getpagesize() != PageSize {
		return fmt.Errorf("pages have %d bytes on this host, not %d", os.Getpagesize(), PageSize)
	}
	for _, mp := range m.maps {
		if mp.shared {
			return errors.New("memory is shared with another process")
		}
		if len(mp.host)%PageSize != 0 {
			return fmt.Errorf("region of %d bytes is not whole pages", len(mp.host))
		}
	}
	return nil
}

// Touched is the pages that are this process's own: those written since the memory was
// mapped, or last put on an image. Of memory without an image it is also those that
// were only read; they are zero. A page that was discarded is not among them.
//
// Memory that is shared with another process is an error, as is a kernel without
// /proc/self/pagemap.
func (m *Memory) Touched() ([]Run, error) {
	return m.scan(func(entry uint64) bool {
		return entry&(pagemapPresent|pagemapSwapped) != 0 && entry&pagemapFile == 0
	})
}

// WorkingSet is the pages that are in this process's page tables now, its own and those
// of the image's files: what the guest and the devices used, and what the kernel mapped
// around it. [Memory.WriteImage] uses all that holds data, and so spoils the answer. The
// errors are those of [Memory.Touched].
func (m *Memory) WorkingSet() ([]Run, error) {
	return m.scan(func(entry uint64) bool { return entry&pagemapPresent != 0 })
}

// scan returns the pages whose entry in the pagemap counts.
func (m *Memory) scan(counts func(entry uint64) bool) ([]Run, error) {
	if err := m.private(); err != nil {
		return nil, fmt.Errorf("look up pages of guest memory: %w", err)
	}
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("look up pages of guest memory: %w", err)
	}
	defer f.Close()
	runs := []Run{}
	buf := make([]byte, pagemapChunk)
	for i, part := range m.parts() {
		at := int64(address(m.maps[i].host) / PageSize * pagemapEntry)
		for done := uint32(0); done < part.Count; {
			n := min(part.Count-done, pagemapChunk/pagemapEntry)
			b := buf[:n*pagemapEntry]
			if _, err := io.ReadFull(io.NewSectionReader(f, at+int64(done)*pagemapEntry, int64(len(b))), b); err != nil {
				return nil, fmt.Errorf("look up pages of guest memory: %w", err)
			}
			for j := range n {
				if counts(binary.NativeEndian.Uint64(b[j*pagemapEntry:])) {
					runs = extend(runs, Run{part.Page + done + j, 1})
				}
			}
			done += n
		}
	}
	return runs, nil
}
