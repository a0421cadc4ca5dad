package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/boot/boottest"
)

func TestFromFileFindsModules(t *testing.T) {
	beside, host := t.TempDir(), t.TempDir()
	installed := install(t, beside, release, treeFiles(release))
	install(t, host, release, treeFiles(release))
	bare := writeFile(t, filepath.Join(t.TempDir(), "bzImage"), bzImage(release, 0x1000))
	among := writeFile(t, filepath.Join(beside, "lib/modules", release, "vmlinuz"), bzImage(release, 0x1000))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(installed.Image, link); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		image, root string
		modules     bool
	}{
		"installed tree":    {installed.Image, t.TempDir(), true},
		"link to it":        {link, t.TempDir(), true},
		"among its modules": {among, t.TempDir(), true},
		"the host's":        {bare, host, true},
		"none":              {bare, t.TempDir(), false},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := newStore(t).fromFile(t.Context(), tt.image, tt.root)
			if err != nil {
				t.Fatal(err)
			}
			if tt.modules {
				checkKernel(t, k)
			} else if len(k.Modules) != 0 || k.Version != release {
				t.Errorf("got %+v", k.Manifest)
			}
		})
	}
}

func TestFromFileIsCached(t *testing.T) {
	s := newStore(t)
	path := writeFile(t, filepath.Join(t.TempDir(), "k"), bzImage("1.0", 1))
	first, err := s.FromFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	mark := writeFile(t, filepath.Join(first.Dir, "mark"), nil)
	if k, err := s.FromFile(t.Context(), path); err != nil || k.Dir != first.Dir {
		t.Errorf("second time: %s, %v, want %s", k.Dir, err, first.Dir)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error("the kernel was unpacked again")
	}
	time.Sleep(20 * time.Millisecond) // so that the file's times differ
	writeFile(t, path, bzImage("2.0", 1))
	if k, err := s.FromFile(t.Context(), path); err != nil || k.Version != "2.0" {
		t.Errorf("a changed file gave version %q, %v", k.Version, err)
	}
	for i := range maxCachedKernels + 1 {
		if i == maxCachedKernels {
			longAgo(t, filepath.Join(s.cache, "kernels"))
		}
		name := filepath.Join(t.TempDir(), string(rune('a'+i)))
		if _, err := s.FromFile(t.Context(), writeFile(t, name, bzImage("3.0", 1))); err != nil {
			t.Fatal(err)
		}
	}
	if dirs, err := filepath.Glob(filepath.Join(s.cache, "kernels/[0-9a-f]*")); err != nil || len(dirs) != maxCachedKernels {
		t.Errorf("the cache has %d kernels, %v, want %d", len(dirs), err, maxCachedKernels)
	}
}

// longAgo makes all entries of a cache ones that nobody used for an hour.
func longAgo(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ago := time.Now().Add(-time.Hour)
	for _, e := range entries {
		if err := os.Chtimes(filepath.Join(dir, e.Name()), ago, ago); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFromFileInTheStore(t *testing.T) {
	s := newStore(t)
	add(t, s, "mine", 1)
	k, err := s.Get("mine")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.FromFile(t.Context(), k.ImagePath()); err != nil || got.Dir != k.Dir || got.Name != "mine" {
		t.Errorf("got %q in %s, %v, want the stored kernel", got.Name, got.Dir, err)
	}
}

func TestFromFileWithoutVersion(t *testing.T) {
	k, err := newStore(t).FromFile(t.Context(), writeFile(t, filepath.Join(t.TempDir(), "k"), boottest.Vmlinux("x", 1)))
	if err != nil || k.Version != "" || len(k.Modules) != 0 {
		t.Errorf("got %+v, %v", k.Manifest, err)
	}
}

func TestFromFileRefuses(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "k"), []byte("text"))
	if _, err := newStore(t).FromFile(t.Context(), path); !errors.Is(err, boot.ErrNotKernel) {
		t.Errorf("got %v, want ErrNotKernel", err)
	}
	if _, err := newStore(t).FromFile(t.Context(), path+"-none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}
