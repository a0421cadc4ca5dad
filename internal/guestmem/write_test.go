package guestmem

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// blocks is the space that a file takes, in bytes.
func blocks(t *testing.T, f *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// TestWriteImage: data goes to its place, and zeros become holes, of memory that was
// touched and of memory that was not.
func TestWriteImage(t *testing.T) {
	const low, size = 64 << 20, 3 << 30
	m, err := Map([]Region{{Size: low}, {GuestAddr: 4 << 30, Size: size - low}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	first, second := m.maps[0].host, m.maps[1].host
	for i := range first[:8<<20] {
		first[i] = 0 // huge pages of zeros
	}
	first[5*page+7], first[6*page-1], first[9*page], first[low-1] = 1, 2, 3, 4
	second[0], second[1<<30] = 5, 6
	for i := range second[2<<30:][:3<<20] { // longer than what is written at once
		second[2<<30+i] = 7
	}
	want := []Run{{5, 1}, {9, 1}, {low/page - 1, 2}, {(low + 1<<30) / page, 1}, {(low + 2<<30) / page, 3 << 20 / page}}
	for name, f := range map[string]*os.File{"memfd": memfd(t, 0), "file": filled(t, 0, 0)} {
		runs, err := m.WriteImage(t.Context(), f)
		expect(t, name, runs, err, want...)
		// A filesystem may take more than it needs.
		if n := blocks(t, f); n > 16<<20 {
			t.Errorf("%s: it takes %d bytes", name, n)
		}
		again := mapImage(t, &Image{size, []Layer{{File: f}}}, Region{Size: low}, Region{GuestAddr: 4 << 30, Size: size - low})
		if !bytes.Equal(again.maps[0].host, first) {
			t.Errorf("%s: the first region is another", name)
		}
		for _, at := range []int{0, 1<<30 - page, 2<<30 - page} {
			if !bytes.Equal(again.maps[1].host[at:at+4<<20], second[at:at+4<<20]) {
				t.Errorf("%s: the second region is another at %#x", name, at)
			}
		}
	}
}

// TestWriteImageOfAnImage: the whole memory is written, what is from the image's files
// with what has changed since.
func TestWriteImageOfAnImage(t *testing.T) {
	const pages = 1024
	base, above := memfd(t, pages*page), memfd(t, pages*page)
	for _, w := range []struct {
		f    *os.File
		page int64
		s    string
	}{{base, 10, "base"}, {base, 20, "hidden"}, {base, 700, "gone"}, {above, 20, "above"}, {above, 400, "new"}, {above, 500, "zeroed"}, {above, 900, "no run"}} {
		if _, err := w.f.WriteAt([]byte(w.s), w.page*page); err != nil {
			t.Fatal(err)
		}
	}
	m := mapImage(t, &Image{pages * page, []Layer{{File: base}, {above, []Run{{20, 1}, {400, 1}, {500, 1}, {700, 1}}}}})
	b := all(t, m)
	copy(b[30*page:], "own")
	clear(b[500*page:][:page])
	out := memfd(t, 0)
	runs, err := m.WriteImage(t.Context(), out)
	expect(t, "written", runs, err, Run{10, 1}, Run{20, 1}, Run{30, 1}, Run{400, 1})
	if n := blocks(t, out); n != 4*page {
		t.Errorf("the file takes %d bytes", n)
	}
	if !bytes.Equal(all(t, mapImage(t, &Image{pages * page, []Layer{{File: out}}})), b) {
		t.Error("the new image is another")
	}
}

func TestWriteRefuses(t *testing.T) {
	m, err := Map([]Region{{Size: 4 * page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.maps[0].host[0] = 1
	if _, err := m.WriteChanges(t.Context(), memfd(t, 0)); err == nil {
		t.Error("changes were written of memory without an image")
	}
	if _, err := m.WriteImage(t.Context(), memfd(t, 1)); err == nil {
		t.Error("the file was not empty")
	}
	path := filepath.Join(t.TempDir(), "memory")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := m.WriteImage(t.Context(), f); err == nil {
		t.Error("the file was for reading only")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.WriteImage(ctx, memfd(t, 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
}
