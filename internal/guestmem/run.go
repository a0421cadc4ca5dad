package guestmem

import (
	"encoding/binary"
	"fmt"
)

// PageSize is the unit in which images of guest memory are kept, in bytes.
const PageSize = 4096

// runBytes is what a run takes in its encoded form.
const runBytes = 8

// Run is pages of an image that lie one after the other. Page counts from the
// image's start; Count is at least 1.
type Run struct{ Page, Count uint32 }

// end is the first page after r. It does not wrap for a run that is inside an image.
func (r Run) end() uint32 { return r.Page + r.Count }

// EncodeRuns is the form of runs in a file: for each its first page and its count,
// 32 bits each, little-endian.
func EncodeRuns(runs []Run) []byte {
	b := make([]byte, 0, len(runs)*runBytes)
	for _, r := range runs {
		b = binary.LittleEndian.AppendUint32(b, r.Page)
		b = binary.LittleEndian.AppendUint32(b, r.Count)
	}
	return b
}

// DecodeRuns reads what [EncodeRuns] wrote, of an image of so many pages. It refuses
// runs that are empty, out of order, overlap, or reach past the last page. No runs
// are an empty slice that is not nil, as [Layer] wants them.
func DecodeRuns(b []byte, pages uint32) ([]Run, error) {
	if len(b)%runBytes != 0 {
		return nil, fmt.Errorf("page runs: %d bytes are not whole runs of %d", len(b), runBytes)
	}
	runs := make([]Run, 0, len(b)/runBytes)
	for ; len(b) > 0; b = b[runBytes:] {
		runs = append(runs, Run{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])})
	}
	if err := checkRuns(runs, pages); err != nil {
		return nil, err
	}
	return runs, nil
}

// checkRuns refuses runs that are not in order or not inside so many pages.
func checkRuns(runs []Run, pages uint32) error {
	next := uint32(0)
	for i, r := range runs {
		switch {
		case r.Count == 0:
			return fmt.Errorf("page runs: run %d is empty", i)
		case r.Page < next:
			return fmt.Errorf("page runs: run %d begins at page %d, before the end of the one before", i, r.Page)
		case uint64(r.Page)+uint64(r.Count) > uint64(pages):
			return fmt.Errorf("page runs: run %d ends at page %d of %d", i, uint64(r.Page)+uint64(r.Count), pages)
		}
		next = r.end()
	}
	return nil
}

// extend adds r, which begins at or after the last run's first page, and joins the two
// where they touch or overlap.
func extend(runs []Run, r Run) []Run {
	if n := len(runs); n > 0 && r.Page <= runs[n-1].end() {
		last := &runs[n-1]
		last.Count = max(last.end(), r.end()) - last.Page
		return runs
	}
	return append(runs, r)
}

// union is the pages that are in a, in b, or in both.
func union(a, b []Run) []Run {
	var all []Run
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Page <= b[0].Page {
			all, a = extend(all, a[0]), a[1:]
		} else {
			all, b = extend(all, b[0]), b[1:]
		}
	}
	return all
}
