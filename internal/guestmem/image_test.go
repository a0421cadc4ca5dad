package guestmem

import (
	"math/rand/v2"
	"testing"
)

func TestCheck(t *testing.T) {
	const pages = 4
	full, short := memfd(t, pages*page), memfd(t, pages*page-1)
	closed := memfd(t, pages*page)
	closed.Close()
	base := Layer{File: full}
	for name, c := range map[string]struct {
		img Image
		ok  bool
	}{
		"base":                {Image{pages * page, []Layer{base}}, true},
		"larger files":        {Image{page, []Layer{base, {full, []Run{{0, 1}}}}}, true},
		"layers":              {Image{pages * page, []Layer{base, {full, []Run{}}, {full, []Run{{0, 1}, {3, 1}}}}}, true},
		"no layers":           {Image{pages * page, nil}, false},
		"no size":             {Image{0, []Layer{base}}, false},
		"part of a page":      {Image{pages*page - 1, []Layer{base}}, false},
		"too many pages":      {Image{1 << 44, []Layer{base}}, false},
		"short base":          {Image{pages * page, []Layer{{File: short}}}, false},
		"short layer":         {Image{pages * page, []Layer{base, {short, []Run{{0, 1}}}}}, false},
		"a closed file":       {Image{pages * page, []Layer{{File: closed}}}, false},
		"no file":             {Image{pages * page, []Layer{{}}}, false},
		"runs in the base":    {Image{pages * page, []Layer{{full, []Run{{0, pages}}}}}, false},
		"no runs in the base": {Image{pages * page, []Layer{{full, []Run{}}}}, false},
		"a second base":       {Image{pages * page, []Layer{base, base}}, false},
		"runs past the end":   {Image{pages * page, []Layer{base, {full, []Run{{3, 2}}}}}, false},
		"runs out of order":   {Image{pages * page, []Layer{base, {full, []Run{{2, 1}, {1, 1}}}}}, false},
		"an empty run":        {Image{pages * page, []Layer{base, {full, []Run{{2, 0}}}}}, false},
	} {
		if err := c.img.Check(); c.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPlan: each page comes from the last layer that has it, and the longest pieces are
// the ones that are mapped.
func TestPlan(t *testing.T) {
	const pages = 60
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		img := &Image{Size: pages * page, Layers: make([]Layer, 1+r.IntN(5))}
		var want, got [pages]int
		for i := range img.Layers[1:] {
			img.Layers[i+1].Runs = randomRuns(r, pages)
			paint(want[:], img.Layers[i+1].Runs, i+1)
		}
		limit := round % 12
		mapped, copied := img.plan(limit)
		if len(mapped) > limit || len(copied) > 0 && len(mapped) < limit {
			t.Fatalf("%d pieces are mapped and %d copied, limit %d", len(mapped), len(copied), limit)
		}
		shortest := uint32(pages)
		for _, p := range mapped {
			shortest = min(shortest, p.Count)
		}
		for i, list := range [][]piece{mapped, copied} {
			next := uint32(0)
			for _, p := range list {
				if p.Page < next {
					t.Fatalf("%v is out of order", list)
				}
				if i == 1 && p.Count > shortest {
					t.Fatalf("%d pages are copied, while %d are mapped", p.Count, shortest)
				}
				next = p.end()
				paint(got[:], []Run{p.Run}, p.layer)
			}
		}
		if got != want {
			t.Fatalf("layers %v:\n got %v\nwant %v", img.Layers, got, want)
		}
	}
}

// TestPieces: what is mapped in the end has each page once, and any part of it can be cut out.
func TestPieces(t *testing.T) {
	const pages = 60
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		under, over := []piece{{Run{0, pages}, 0}}, []piece{}
		var want [pages]int
		for _, run := range randomRuns(r, pages) {
			over = append(over, piece{run, 1})
			paint(want[:], []Run{run}, 1)
		}
		all := overlay(under, over)
		from := r.Uint32N(pages)
		part := Run{from, 1 + r.Uint32N(pages-from)}
		for _, c := range []struct {
			pieces []piece
			of     Run
		}{{all, Run{0, pages}}, {within(all, part), part}} {
			next := c.of.Page
			for _, p := range c.pieces {
				if p.Page != next || p.Count == 0 {
					t.Fatalf("%v of %+v has a gap or an overlap", c.pieces, c.of)
				}
				for next < p.end() {
					if want[next] != p.layer {
						t.Fatalf("%v: page %d is of layer %d, want %d", c.pieces, next, p.layer, want[next])
					}
					next++
				}
			}
			if next != c.of.end() {
				t.Fatalf("%v ends before %+v", c.pieces, c.of)
			}
		}
	}
}
