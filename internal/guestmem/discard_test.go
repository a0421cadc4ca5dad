package guestmem

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// resident counts the pages of b that are in memory.
func resident(t *testing.T, b []byte) int {
	t.Helper()
	n := 0
	for _, in := range mincore(t, b) {
		n += int(in & 1)
	}
	return n
}

func TestDiscard(t *testing.T) {
	const pages = 16
	for _, c := range []struct {
		name string
		file func(t *testing.T) *os.File
	}{
		{"private", func(*testing.T) *os.File { return nil }},
		{"shared", func(t *testing.T) *os.File { return memfd(t, pages*page) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.file(t)
			m, err := Map([]Region{{GuestAddr: page, Size: pages * page, File: f}})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			all, _ := m.Slice(page, pages*page)
			// A huge page would hide what single pages do.
			_ = unix.Madvise(all, unix.MADV_NOHUGEPAGE)
			for _, r := range []struct{ from, to, first, last int }{ // bytes asked for, pages that go
				{0, pages * page, 0, pages},
				{page, 3 * page, 1, 3},
				{page - 1, 3*page + 1, 1, 3},
				{page + 1, 3 * page, 2, 3},
				{page + 1, 3*page - 1, 0, 0}, // no page whole: 2 pages begin and end inside
				{page + 1, page + 9, 0, 0},
				{5 * page, 5 * page, 0, 0},
				{pages*page - page, pages * page, pages - 1, pages},
			} {
				for i := range all {
					all[i] = 0xaa
				}
				if err := m.Discard(all[r.from:r.to]); err != nil {
					t.Fatalf("%+v: %v", r, err)
				}
				if got, want := resident(t, all), pages-(r.last-r.first); got != want {
					t.Errorf("%+v: %d pages are left in memory, want %d", r, got, want)
				}
				want := bytes.Repeat([]byte{0xaa}, len(all))
				clear(want[r.first*page : r.last*page])
				if !bytes.Equal(all, want) {
					t.Errorf("%+v: the wrong bytes are gone", r)
				}
			}
			if f == nil {
				return
			}
			var st unix.Stat_t
			clear(all)
			if err := m.Discard(all); err != nil {
				t.Fatal(err)
			}
			if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks != 0 || st.Size != pages*page {
				t.Errorf("the file has %d blocks and %d bytes, %v", st.Blocks, st.Size, err)
			}
		})
	}
}

// TestDiscardOfAnImage: the page of the image comes back, and is no change any more.
func TestDiscardOfAnImage(t *testing.T) {
	const pages = 8
	m := mapImage(t, &Image{pages * page, []Layer{{File: filled(t, pages, 0)}, {filled(t, pages, 1), []Run{{4, 2}}}}})
	b := all(t, m)
	want := bytes.Clone(b)
	for i := range b {
		b[i] = 0xaa
	}
	copy(want[6*page:], b[6*page:])
	if err := m.Discard(b[:6*page]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("discarded pages are not the image's, or others are gone")
	}
	if got, err := m.Touched(); err != nil || !slices.Equal(got, []Run{{6, 2}}) {
		t.Errorf("touched are %v, %v", got, err)
	}
	if got := all(t, mapImage(t, m.Image())); !bytes.Equal(got[:6*page], want[:6*page]) {
		t.Error("the image has changed")
	}
}

// TestDiscardOnlyItsOwn: memory of anybody else stays.
func TestDiscardOnlyItsOwn(t *testing.T) {
	m, err := Map([]Region{{GuestAddr: 0, Size: 4 * page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	other, err := unix.Mmap(-1, 0, 4*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(other)
	other[page] = 1
	mp := m.maps[0]
	for name, b := range map[string][]byte{
		"another mapping":   other,
		"nothing":           nil,
		"around the region": mp.whole,
	} {
		if err := m.Discard(b); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if other[page] != 1 {
		t.Error("it was discarded all the same")
	}
}

// TestDiscardRefused: memory that cannot be given back is an error.
func TestDiscardRefused(t *testing.T) {
	m, err := Map([]Region{{Size: page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, _ := m.Slice(0, page)
	if err := unix.Mlock(b); err != nil {
		t.Skipf("cannot lock memory: %v", err)
	}
	if err := m.Discard(b); err == nil {
		t.Error("locked memory was discarded")
	}
}
