package guestmem

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// expect compares runs that a method returned.
func expect(t *testing.T, what string, got []Run, err error, want ...Run) {
	t.Helper()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: %v, %v; want %v", what, got, err, want)
	}
}

func TestTouched(t *testing.T) {
	const pages, low = 20000, 9000 // more than one read of the pagemap
	regions := []Region{{Size: low * page}, {GuestAddr: 4 << 30, Size: (pages - low) * page}}
	anonymous, err := Map(regions)
	if err != nil {
		t.Fatal(err)
	}
	defer anonymous.Close()
	base, above := memfd(t, pages*page), memfd(t, pages*page)
	for name, m := range map[string]*Memory{
		"anonymous": anonymous,
		"image":     mapImage(t, &Image{pages * page, []Layer{{File: base}, {above, []Run{{100, 200}}}}}, regions...),
	} {
		t.Run(name, func(t *testing.T) {
			for _, mp := range m.maps {
				_ = unix.Madvise(mp.host, unix.MADV_NOHUGEPAGE)
			}
			got, err := m.Touched()
			expect(t, "new", got, err)
			if got == nil {
				t.Error("no pages are nil, which is a first layer's runs")
			}
			sum := byte(0)
			for _, i := range []int{50, 102, 8999} { // reading is no change, but to anonymous memory it looks like one
				sum += m.maps[0].host[i*page]
			}
			if name == "image" {
				got, err = m.Touched()
				expect(t, "read", got, err)
			}
			for _, i := range []int{0, 50, 101, 102, 103, 299, 300, 8190, 8191, 8192, 8999} {
				m.maps[0].host[i*page+i%page] = 1 + sum
			}
			for _, i := range []int{0, 1, 10999} {
				m.maps[1].host[i*page] = 1
			}
			got, err = m.Touched()
			expect(t, "written", got, err, Run{0, 1}, Run{50, 1}, Run{101, 3}, Run{299, 2}, Run{8190, 3}, Run{8999, 3}, Run{19999, 1})
		})
	}
}

func TestWorkingSet(t *testing.T) {
	const pages = 64
	m := mapImage(t, &Image{pages * page, []Layer{{File: filled(t, pages, 0)}}})
	got, err := m.WorkingSet()
	expect(t, "new", got, err)
	b := all(t, m)
	_ = unix.Madvise(b, unix.MADV_RANDOM) // the kernel maps pages around, and may all the same
	sum := b[20*page]
	b[40*page] = sum
	got, err = m.WorkingSet()
	var has [pages]int
	paint(has[:], got, 1)
	if err != nil || has[20] == 0 || has[40] == 0 {
		t.Errorf("%v, %v: read was page 20 and written page 40", got, err)
	}
	if err := m.Discard(b); err != nil {
		t.Fatal(err)
	}
	got, err = m.WorkingSet()
	expect(t, "discarded", got, err)
}

// TestSharedMemoryIsNoImage: a process cannot say what others have written.
func TestSharedMemoryIsNoImage(t *testing.T) {
	f := memfd(t, 4*page)
	shared, err := Map([]Region{{Size: page}, {GuestAddr: page, Size: 2 * page, File: f}})
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	partial, err := Map([]Region{{Size: page + 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer partial.Close()
	for _, c := range []struct {
		m    *Memory
		says string
	}{{shared, "shared with another process"}, {partial, "not whole pages"}} {
		_, touched := c.m.Touched()
		_, set := c.m.WorkingSet()
		out := memfd(t, 0)
		_, image := c.m.WriteImage(t.Context(), out)
		rebase := c.m.Rebase(&Image{3 * page, []Layer{{File: f}}})
		for name, err := range map[string]error{
			"Touched": touched, "WorkingSet": set, "WriteImage": image, "Rebase": rebase, "Prefetch": c.m.Prefetch(nil),
		} {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
		}
	}
}
