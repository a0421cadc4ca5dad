package guestmem

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Discard gives the host back the memory behind b, which is of this Memory: until
// somebody writes to it, it reads as in the image that the memory is based on, or as
// zero if there is none. Whatever of b is less than a page of the host stays as it is.
// Of a shared file it goes from the file itself, and so from every process that has
// the file mapped; an image stays whole.
//
// The error wraps [ErrOutOfRange] if b is not of this Memory; otherwise it is the
// kernel's, for memory that cannot be discarded.
func (m *Memory) Discard(b []byte) error {
	mp := m.holds(b)
	if mp == nil {
		return fmt.Errorf("discard %d bytes: %w", len(b), ErrOutOfRange)
	}
	page := uint64(os.Getpagesize())
	skip := -address(b) % page
	if uint64(len(b)) < skip+page {
		return nil
	}
	whole := b[skip : skip+(uint64(len(b))-skip)/page*page]
	advice := unix.MADV_DONTNEED
	if mp.shared {
		advice = unix.MADV_REMOVE
	}
	if err := unix.Madvise(whole, advice); err != nil {
		return fmt.Errorf("discard %d bytes of guest memory: %w", len(whole), err)
	}
	return nil
}

// holds returns the mapping that b is wholly inside of, or nil.
func (m *Memory) holds(b []byte) *mapping {
	at := address(b)
	for i := range m.maps {
		mp := &m.maps[i]
		if off := at - address(mp.host); off < uint64(len(mp.host)) && uint64(len(b)) <= uint64(len(mp.host))-off {
			return mp
		}
	}
	return nil
}
