package guestmem

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// filled is a file of so many pages; each begins with its number and the given tag.
func filled(t *testing.T, pages int, tag uint32) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "memory"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b := make([]byte, pages*page)
	for i := range pages {
		binary.LittleEndian.PutUint32(b[i*page:], uint32(i))
		binary.LittleEndian.PutUint32(b[i*page+4:], tag)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return f
}

// mapImage maps img as one region at 0, or as what regions says.
func mapImage(t *testing.T, img *Image, regions ...Region) *Memory {
	t.Helper()
	if regions == nil {
		regions = []Region{{Size: img.Size}}
	}
	m, err := MapImage(regions, img)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// all is the bytes of a Memory of one region.
func all(t *testing.T, m *Memory) []byte {
	t.Helper()
	b, err := m.Slice(m.maps[0].guest, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMapImage: regions show the pages of the layers that have them, at their own place.
func TestMapImage(t *testing.T) {
	const pages, low = 64, 24
	img := &Image{pages * page, []Layer{
		{File: filled(t, pages, 0)},
		{filled(t, pages, 1), []Run{{3, 2}, {low - 2, 4}, {60, 4}}},
		{filled(t, pages, 2), []Run{{4, 3}, {low - 1, 2}}},
	}}
	var want [pages]int
	for i, l := range img.Layers {
		paint(want[:], l.Runs, i)
	}
	const high = 4<<30 + 5*page
	// The order is that of addresses, not that of the list.
	m := mapImage(t, img, Region{GuestAddr: high, Size: (pages - low) * page}, Region{GuestAddr: page, Size: low * page})
	if m.Image() != img {
		t.Error("the memory has another image")
	}
	for i := range uint64(pages) {
		addr := page + i*page
		if i >= low {
			addr = high + (i-low)*page
		}
		b, err := m.Slice(addr, page)
		if err != nil {
			t.Fatal(err)
		}
		if n, tag := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]); n != uint32(i) || tag != uint32(want[i]) {
			t.Errorf("at %#x is page %d of layer %d, want page %d of layer %d", addr, n, tag, i, want[i])
		}
		if at := address(b); at%hugePage != addr%hugePage {
			t.Errorf("guest address %#x is at host address %#x", addr, at)
		}
	}
	if _, err := m.Slice(page, low*page+1); err == nil {
		t.Error("the first region goes on after its end")
	}
}

// TestMapImageInManyPieces: more pieces than are mapped.
func TestMapImageInManyPieces(t *testing.T) {
	const pages = 3 * maxPieces
	img := &Image{pages * page, []Layer{{File: filled(t, pages, 0)}, {filled(t, pages, 1), []Run{}}}}
	for i := uint32(0); i+2 < pages; i += 2 {
		img.Layers[1].Runs = append(img.Layers[1].Runs, Run{i, 1})
	}
	m := mapImage(t, img)
	b := all(t, m)
	for i := range uint32(pages - 2) {
		n, tag := binary.LittleEndian.Uint32(b[i*page:]), binary.LittleEndian.Uint32(b[i*page+4:])
		if n != i || tag != 1-i%2 {
			t.Fatalf("page %d is page %d of layer %d", i, n, tag)
		}
	}
	touched, err := m.Touched()
	if err != nil || len(touched) != len(img.Layers[1].Runs)-maxPieces {
		t.Errorf("%d pages are this process's, of %d in the layer: %v", len(touched), len(img.Layers[1].Runs), err)
	}
}

// TestImageIsPrivate: nobody sees what another Memory of the same image has written.
func TestImageIsPrivate(t *testing.T) {
	const pages = 8
	img := &Image{pages * page, []Layer{{File: filled(t, pages, 0)}, {filled(t, pages, 1), []Run{{4, 2}}}}}
	before := make([]byte, pages*page)
	copy(before, all(t, mapImage(t, img)))
	a, b := mapImage(t, img), mapImage(t, img)
	for i := range all(t, a) {
		all(t, a)[i] = 0xaa
	}
	if !bytes.Equal(all(t, b), before) {
		t.Error("another Memory has changed")
	}
	for i, l := range img.Layers {
		got := make([]byte, pages*page)
		if _, err := l.File.ReadAt(got, 0); err != nil || bytes.IndexByte(got, 0xaa) >= 0 {
			t.Errorf("the file of layer %d has changed: %v", i, err)
		}
	}
	if !bytes.Equal(all(t, mapImage(t, img)), before) {
		t.Error("a later Memory has other contents")
	}
}

func TestMapImageRefuses(t *testing.T) {
	f := memfd(t, 4*page)
	img := &Image{4 * page, []Layer{{File: f}}}
	for name, rs := range map[string][]Region{
		"too small":      {{Size: 3 * page}},
		"too large":      {{Size: 5 * page}},
		"none":           nil,
		"overlap":        {{Size: 2 * page}, {GuestAddr: page, Size: 2 * page}},
		"a file":         {{Size: 4 * page, File: f}},
		"part of a page": {{Size: page / 2}, {GuestAddr: page, Size: 3*page + page/2}},
		"askew":          {{GuestAddr: 1, Size: 4 * page}},
	} {
		if m, err := MapImage(rs, img); err == nil {
			m.Close()
			t.Errorf("%s: MapImage accepted it", name)
		}
	}
	if m, err := MapImage([]Region{{Size: 8 * page}}, &Image{8 * page, img.Layers}); err == nil {
		m.Close()
		t.Error("MapImage accepted an image larger than its file")
	}
	blind, err := os.OpenFile(filled(t, 4, 0).Name(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer blind.Close()
	if m, err := MapImage([]Region{{Size: 4 * page}}, &Image{4 * page, []Layer{{File: blind}}}); err == nil {
		m.Close()
		t.Error("MapImage accepted a file that cannot be read")
	}
}

// TestMapImageOfHugeMemory: what is not touched costs nothing.
func TestMapImageOfHugeMemory(t *testing.T) {
	const size = 64 << 30
	f, err := os.Create(filepath.Join(t.TempDir(), "memory"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("otter"), size-page); err != nil {
		t.Fatal(err)
	}
	m := mapImage(t, &Image{size, []Layer{{File: f}}}, Region{Size: 3 << 30}, Region{GuestAddr: 4 << 30, Size: size - 3<<30})
	b, err := m.Slice(size+1<<30-page, page)
	if err != nil || string(b[:5]) != "otter" {
		t.Errorf("the last page begins with %q, %v", b[:5], err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("the file has %d blocks, %v", st.Blocks, err)
	}
}
