package guestmem

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestDecodeRuns(t *testing.T) {
	for name, c := range map[string]struct {
		runs []Run
		ok   bool
	}{
		"none":          {[]Run{}, true},
		"one":           {[]Run{{3, 2}}, true},
		"all":           {[]Run{{0, 100}}, true},
		"side by side":  {[]Run{{3, 2}, {5, 95}}, true},
		"empty":         {[]Run{{3, 0}}, false},
		"out of order":  {[]Run{{5, 1}, {3, 1}}, false},
		"overlap":       {[]Run{{3, 2}, {4, 1}}, false},
		"twice":         {[]Run{{3, 2}, {3, 2}}, false},
		"past the end":  {[]Run{{99, 2}}, false},
		"begins there":  {[]Run{{100, 1}}, false},
		"wraps":         {[]Run{{99, math.MaxUint32}}, false},
		"wraps to zero": {[]Run{{1, math.MaxUint32}, {0, 1}}, false},
	} {
		b := EncodeRuns(c.runs)
		got, err := DecodeRuns(b, 100)
		if c.ok != (err == nil) || c.ok && !reflect.DeepEqual(got, c.runs) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if got, err := DecodeRuns(append(b, 0), 100); err == nil {
			t.Errorf("%s and a byte more: %v", name, got)
		}
	}
	if want := []byte{1, 2, 0, 0, 3, 0, 0, 1}; !bytes.Equal(EncodeRuns([]Run{{0x201, 0x1000003}}), want) {
		t.Errorf("encoded as % x, want % x", EncodeRuns([]Run{{0x201, 0x1000003}}), want)
	}
}

func FuzzDecodeRuns(f *testing.F) {
	f.Add(EncodeRuns([]Run{{0, 1}, {5, 3}}), uint32(8))
	f.Add(EncodeRuns([]Run{{5, math.MaxUint32}}), uint32(math.MaxUint32))
	f.Fuzz(func(t *testing.T, b []byte, pages uint32) {
		runs, err := DecodeRuns(b, pages)
		if err != nil {
			return
		}
		next := uint64(0)
		for _, r := range runs {
			end := uint64(r.Page) + uint64(r.Count)
			if uint64(r.Page) < next || end <= uint64(r.Page) || end > uint64(pages) {
				t.Fatalf("run %+v after page %d, of %d pages", r, next, pages)
			}
			next = end
		}
		if runs == nil || !bytes.Equal(EncodeRuns(runs), b) {
			t.Fatalf("%v is not what was decoded", runs)
		}
	})
}

// randomRuns is runs in order with gaps and without, of the pages from 0 to pages.
func randomRuns(r *rand.Rand, pages uint32) []Run {
	runs := []Run{}
	for at := r.Uint32N(5); at < pages; at += r.Uint32N(5) {
		n := min(1+r.Uint32N(4), pages-at)
		runs = append(runs, Run{at, n})
		at += n
	}
	return runs
}

// paint gives each page of runs its value.
func paint(pages []int, runs []Run, value int) {
	for _, r := range runs {
		for i := range r.Count {
			pages[r.Page+i] = value
		}
	}
}

func TestUnion(t *testing.T) {
	const pages = 60
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		a, b := randomRuns(r, pages), randomRuns(r, pages)
		var want, got [pages]int
		paint(want[:], a, 1)
		paint(want[:], b, 1)
		all := union(a, b)
		paint(got[:], all, 1)
		if got != want {
			t.Fatalf("%v and %v are %v", a, b, all)
		}
		for i := range all[:max(1, len(all))-1] {
			if all[i].end() >= all[i+1].Page {
				t.Fatalf("%v and %v are %v: runs that could be one", a, b, all)
			}
		}
	}
}
