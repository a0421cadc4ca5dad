package guestmem

import (
	"cmp"
	"slices"
)

// maxPieces is how many pieces of an image are mapped above its first layer. Each costs
// at most two mappings, of the 65530 that the kernel lets a process have unless
// /proc/sys/vm/max_map_count says otherwise; the rest is for everybody else, and several
// thousand would be slow to map and to look up.
const maxPieces = 2048

// piece is pages of an image that are read from one layer.
type piece struct {
	Run
	layer int
}

// plan says what lies above the image's first layer, in order and without overlap: the
// pieces that are mapped, and those that are copied, which are the shortest ones where
// there are more than limit.
func (img *Image) plan(limit int) (mapped, copied []piece) {
	all := []piece{img.first()}
	for i, l := range img.Layers[1:] {
		over := make([]piece, len(l.Runs))
		for j, r := range l.Runs {
			over[j] = piece{r, i + 1}
		}
		all = overlay(all, over)
	}
	all = slices.DeleteFunc(all, func(p piece) bool { return p.layer == 0 })
	if len(all) <= limit {
		return all, nil
	}
	slices.SortFunc(all, func(a, b piece) int { return cmp.Compare(b.Count, a.Count) })
	mapped, copied = all[:limit], all[limit:]
	for _, p := range [][]piece{mapped, copied} {
		slices.SortFunc(p, func(a, b piece) int { return cmp.Compare(a.Page, b.Page) })
	}
	return mapped, copied
}

// first is all of the first layer.
func (img *Image) first() piece { return piece{Run{0, img.pages()}, 0} }

// overlay lays one list of pieces over another. Both are in order, and under has every
// page of over; it is used up.
func overlay(under, over []piece) []piece {
	var all, hidden []piece
	for _, p := range over {
		all, under = take(all, under, p.Page)
		hidden, under = take(hidden[:0], under, p.end())
		all = append(all, p)
	}
	return append(all, under...)
}

// take appends to dst what of pieces lies before the page end, and returns what is left.
func take(dst, pieces []piece, end uint32) (taken, left []piece) {
	for len(pieces) > 0 && pieces[0].Page < end {
		p := pieces[0]
		if n := end - p.Page; n < p.Count {
			p.Count = n
			pieces[0].Page, pieces[0].Count = end, pieces[0].Count-n
		} else {
			pieces = pieces[1:]
		}
		dst = append(dst, p)
	}
	return dst, pieces
}

// within is what of pieces lies inside r.
func within(pieces []piece, r Run) []piece {
	_, from := take(nil, slices.Clone(pieces), r.Page)
	part, _ := take(nil, from, r.end())
	return part
}
