package guestmem

import (
	"math"
	"slices"
	"testing"
)

func TestPrefetch(t *testing.T) {
	const pages, low = 64, 24
	m := mapImage(t, &Image{pages * page, []Layer{{File: filled(t, pages, 0)}, {filled(t, pages, 1), []Run{{30, 2}}}}},
		Region{Size: low * page}, Region{GuestAddr: 4 << 30, Size: (pages - low) * page})
	want := []Run{{2, 3}, {low - 1, 10}, {pages - 1, 1}}
	if err := m.Prefetch(want); err != nil {
		t.Fatal(err)
	}
	set, err := m.WorkingSet()
	var has [pages]int
	paint(has[:], want, 1)
	paint(has[:], set, 0) // and what the kernel mapped around
	if err != nil || slices.Contains(has[:], 1) {
		t.Errorf("the working set is %v, %v; want at least %v", set, err, want)
	}
	touched, err := m.Touched()
	expect(t, "touched", touched, err)
}

func TestRanges(t *testing.T) {
	m := mapImage(t, &Image{24 * page, []Layer{{File: filled(t, 24, 0)}}},
		Region{Size: 8 * page}, Region{GuestAddr: 4 << 30, Size: 16 * page})
	got, err := m.Ranges([]Run{{0, 1}, {2, 8}, {23, 1}})
	want := []Range{{0, page}, {2 * page, 6 * page}, {4 << 30, 2 * page}, {4<<30 + 15*page, page}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range [][]Run{{{0, 25}}, {{24, 1}}, {{2, 1}, {1, 1}}} {
		if _, err := m.Ranges(bad); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}

func TestPrefetchRefuses(t *testing.T) {
	m, err := Map([]Region{{Size: 4 * page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, runs := range [][]Run{{{0, 5}}, {{4, 1}}, {{1, math.MaxUint32}}, {{2, 1}, {1, 1}}, {{1, 0}}} {
		if err := m.Prefetch(runs); err == nil {
			t.Errorf("%v was accepted", runs)
		}
	}
	if set, err := m.WorkingSet(); err != nil || len(set) != 0 {
		t.Errorf("%v, %v", set, err)
	}
}
