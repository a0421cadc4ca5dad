package guestmem

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Range is a part of guest memory by the guest's addresses.
type Range struct{ GuestAddr, Size uint64 } // bytes

// Ranges are where runs of pages are for the guest. Runs that are out of order or not of
// this memory are an error.
func (m *Memory) Ranges(runs []Run) ([]Range, error) {
	if err := checkRuns(runs, uint32(m.Size()/PageSize)); err != nil {
		return nil, err
	}
	var out []Range
	for i, part := range m.parts() {
		for _, r := range runs {
			if from, to := max(r.Page, part.Page), min(r.end(), part.end()); from < to {
				out = append(out, Range{m.maps[i].guest + uint64(offset(from-part.Page)), uint64(offset(to - from))})
			}
		}
	}
	return out, nil
}

// Prefetch reads the pages of runs from the image's files into memory, so that the guest
// need not wait for them one by one. It may run beside the guest. Runs that are out of
// order or not of this memory are an error, and nothing is read; an error of the kernel
// leaves the rest unread, and the memory as good as before.
func (m *Memory) Prefetch(runs []Run) error {
	if err := m.private(); err != nil {
		return fmt.Errorf("prefetch guest memory: %w", err)
	}
	if err := checkRuns(runs, uint32(m.Size()/PageSize)); err != nil {
		return fmt.Errorf("prefetch guest memory: %w", err)
	}
	for _, b := range m.slices(runs, m.Size()) {
		err := unix.Madvise(b, unix.MADV_POPULATE_READ)
		if errors.Is(err, unix.EINVAL) { // before Linux 5.14
			err = unix.Madvise(b, unix.MADV_WILLNEED)
		}
		if err != nil {
			return fmt.Errorf("prefetch %d bytes of guest memory: %w", len(b), err)
		}
	}
	return nil
}
