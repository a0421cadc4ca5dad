package diskimage

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOverlayTries: what has to read the base first, or to wait, is not tried.
func TestOverlayTries(t *testing.T) {
	o, _ := overlaid(t, random(4*blockSize))
	b := [][]byte{random(sectorSize)}
	tries := func(what string, want bool) {
		t.Helper()
		if done, err := o.TryWrite(b, 0); done != want || err != nil {
			t.Errorf("%s: %v, %v", what, done, err)
		}
	}
	tries("the rest of the block must come first", false)
	if err := o.WriteAtv(b, 0); err != nil {
		t.Fatal(err)
	}
	tries("the block is there", true)
	o.mu.Lock()
	tries("a block moves", false)
	o.mu.Unlock()
	for _, off := range []int64{0, o.Size()} {
		if done, err := o.TryWrite(nil, off); !done || err != nil {
			t.Errorf("nothing: %v, %v", done, err)
		}
		if err := errors.Join(o.WriteAtv(nil, off), o.ReadAtv(nil, off), o.WriteZeroes(off, 0, true), o.Discard(off, 0)); err != nil {
			t.Errorf("nothing: %v", err)
		}
	}
}

func TestOpenOverlay(t *testing.T) {
	base, err := os.Open(image(t, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, c := range []struct {
		name string
		base *os.File
		size int64
		dir  string
		says string
	}{
		{"shorter than the base", base, 512, t.TempDir(), ""},
		{"longer", base, 1<<20 + 512, t.TempDir(), "regular file of 1049088 bytes"},
		{"odd", base, 1000, t.TempDir(), "multiple of 512"},
		{"empty", base, 0, t.TempDir(), "multiple of 512"},
		{"negative", base, -512, t.TempDir(), "multiple of 512"},
		{"huge", base, 1 << 62, t.TempDir(), "multiple of 512"},
		{"a directory", dir, 512, t.TempDir(), "regular file"},
		{"nowhere", base, 512, dir.Name() + "/none", "no such file"},
	} {
		o, err := OpenOverlay(c.base, c.size, c.dir)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.says == "":
			if o.Size() != c.size {
				t.Errorf("%s: %d bytes", c.name, o.Size())
			}
			o.Close()
		case err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.base.Name()):
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if left, err := os.ReadDir(dir.Name()); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
}

// TestOverlayErrors: what the host's file system says comes through, and what was there
// stays.
func TestOverlayErrors(t *testing.T) {
	base := random(4 * blockSize)
	o, f := overlaid(t, base)
	sealed := sealed(t)
	broken := &Overlay{base: o.base, top: plain(sealed, o.Size()), own: newBitmap(4)}
	for name, err := range map[string]error{
		"write":      broken.WriteAtv([][]byte{random(blockSize)}, 0),
		"write part": broken.WriteAtv([][]byte{random(sectorSize)}, 0),
		"zero":       broken.WriteZeroes(0, blockSize, true),
	} {
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "memfd") {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := make([]byte, len(base))
	if err := broken.ReadAtv([][]byte{got}, 0); err != nil || !bytes.Equal(got, base) {
		t.Errorf("what could not be written is read otherwise: %v", err)
	}
	if err := f.Truncate(blockSize); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"read":       o.ReadAtv([][]byte{got}, 0),
		"write part": o.WriteAtv([][]byte{random(sectorSize)}, 3*blockSize),
		"copy":       o.CopyTo(t.Context(), memfd(t)),
	} {
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), f.Name()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
