package diskimage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// image makes an image of n bytes and returns its path.
func image(t testing.TB, n int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
	return path
}

// opened opens an image of n bytes for writing.
func opened(t testing.TB, n int64) *File {
	t.Helper()
	f, err := Open(image(t, n), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(image(t, 1024), link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		size       int64
		want       []string // in the error
	}{
		{name: "one sector", path: image(t, 512), size: 512},
		{name: "odd sectors", path: image(t, 5*512), size: 5 * 512},
		{name: "larger than 4 GiB", path: image(t, 5<<30), size: 5 << 30},
		{name: "through a symbolic link", path: link, size: 1024},
		{name: "missing", path: filepath.Join(dir, "none"), want: []string{"no such file"}},
		{name: "empty", path: image(t, 0), want: []string{"empty", "truncate -s"}},
		{name: "a byte more", path: image(t, 513), want: []string{"513 bytes", "multiple of 512", "truncate -s %512 "}},
		{name: "directory", path: dir, want: []string{"directory"}},
		{name: "fifo", path: filepath.Join(dir, "fifo"), want: []string{"regular file"}},
		{name: "character device", path: "/dev/null", want: []string{"block device"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, readOnly := range []bool{false, true} {
				f, err := Open(c.path, readOnly)
				if err == nil {
					f.Close()
				}
				if c.want == nil {
					if err != nil {
						t.Error(err)
					} else if f.Size() != c.size || f.path != c.path {
						t.Errorf("%s has %d bytes", f.path, f.Size())
					}
					continue
				}
				if err == nil {
					t.Fatal("opened")
				}
				for _, want := range append(c.want, "disk "+c.path+": ") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not say %q", err, want)
					}
				}
				if strings.Count(err.Error(), c.path+":") != 1 {
					t.Errorf("%q repeats itself", err)
				}
			}
		})
	}
}

// TestReadOnly: what was opened to be read cannot be written by any means.
func TestReadOnly(t *testing.T) {
	f, err := Open(image(t, 4096), true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one := [][]byte{make([]byte, 512)}
	if err := f.ReadAtv(one, 0); err != nil {
		t.Error(err)
	}
	if err := f.Flush(); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"write":        f.WriteAtv(one, 0),
		"discard":      f.Discard(0, 512),
		"write zeroes": f.WriteZeroes(0, 512, true),
	} {
		if !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), f.path) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
