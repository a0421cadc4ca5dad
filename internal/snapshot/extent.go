package snapshot

import (
	"os"

	"github.com/holtvm/holt/internal/guestmem"
)

// extent is bytes of a section, and the file that has them at the same place.
type extent struct {
	off, end int64
	from     *os.File
}

// dataExtents returns the pages of a file that are not wholly holes.
func dataExtents(f *os.File, size int64) ([]extent, error) {
	var all []extent
	var last int64
	err := eachData(f, size, func(off, n int64) error {
		// A file system's blocks may be smaller than pages.
		off, end := max(last, off/align*align), min(size, (off+n+align-1)/align*align)
		if off < end {
			all = append(all, extent{off, end, f})
			last = end
		}
		return nil
	})
	return all, err
}

// flatten returns where the pages of an image are that can be other than zero.
func flatten(img *guestmem.Image) ([]extent, error) {
	all, err := dataExtents(img.Layers[0].File, int64(img.Size))
	if err != nil {
		return nil, err
	}
	for _, l := range img.Layers[1:] {
		all = overlay(all, l)
	}
	return all, nil
}

// overlay puts a layer above what is below it, whose slice is used up.
func overlay(below []extent, l guestmem.Layer) []extent {
	all := make([]extent, 0, len(below)+len(l.Runs))
	for _, r := range l.Runs {
		off := int64(r.Page) * guestmem.PageSize
		end := off + int64(r.Count)*guestmem.PageSize
		for len(below) > 0 && below[0].off < off {
			before := below[0]
			before.end = min(before.end, off)
			all = append(all, before)
			below = from(below, off)
		}
		all = append(all, extent{off, end, l.File})
		for len(below) > 0 && below[0].off < end {
			below = from(below, end)
		}
	}
	return append(all, below...)
}

// from cuts off what the first extent has before off.
func from(all []extent, off int64) []extent {
	if all[0].end <= off {
		return all[1:]
	}
	all[0].off = off
	return all
}
