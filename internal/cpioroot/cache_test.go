package cpioroot

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// prepare prepares a root that must be accepted, and tells whether it was made
// anew.
func (c *cache) prepare(t *testing.T, root, initramfs string) (path string, fresh bool) {
	t.Helper()
	path, err := Prepare(t.Context(), root, initramfs, c.options)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.last = info }()
	return path, c.last == nil || !os.SameFile(c.last, info)
}

type cache struct {
	options Options
	last    os.FileInfo
}

func TestPrepareFindsWhatItMade(t *testing.T) {
	c := &cache{options: options(t)}
	root, initramfs := place(t, "root", packed(t, whole(entry{name: "a", mode: file, content: "1"}))), testInitramfs(t)
	settle()
	for i, step := range []struct {
		what   string
		change func()
		fresh  bool
	}{
		{"first", func() {}, true},
		{"again", func() {}, false},
		{"more memory", func() { c.options.MemoryBytes *= 2 }, false},
		{"another initramfs", func() { initramfs = testInitramfs(t) }, true},
		{"another content", func() { overwrite(t, root, packed(t, whole(entry{name: "a", mode: file, content: "2"}))) }, true},
		{"the same content, once it is old", settle, true},
		{"and again", func() {}, false},
		{"moved", func() {
			moved := root + "2"
			if err := os.Rename(root, moved); err != nil {
				t.Fatal(err)
			}
			root = moved
			settle()
		}, true},
	} {
		step.change()
		path, fresh := c.prepare(t, root, initramfs)
		if fresh != step.fresh {
			t.Errorf("%s: made anew: %v, want %v", step.what, fresh, step.fresh)
		}
		want := "1"
		if i >= 4 {
			want = "2"
		}
		if got := read(t, path)[0][0].content; got != want {
			t.Errorf("%s: content %q, want %q", step.what, got, want)
		}
	}
	if mode := c.last.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %v: others may read it", mode)
	}
}

// TestPrepareBoundsTheCache: what nobody used for a while goes, and nothing that a
// machine may be about to boot.
func TestPrepareBoundsTheCache(t *testing.T) {
	o, initramfs := options(t), testInitramfs(t)
	made := func(n int) (paths []string) {
		for i := range n {
			root := place(t, fmt.Sprint("root", i), packed(t, whole(entry{name: "a", mode: file, content: "1"})))
			path, err := Prepare(t.Context(), root, initramfs, o)
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		return paths
	}
	exist := func(paths []string) (n int) {
		for _, path := range paths {
			if _, err := os.Stat(path); err == nil {
				n++
			}
		}
		return n
	}
	old := made(maxArchives + 2)
	if n := exist(old); n != len(old) {
		t.Errorf("%d of %d archives that were made just now are left", n, len(old))
	}
	ago := time.Now().Add(-time.Hour)
	for _, path := range old {
		if err := os.Chtimes(path, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	if n := exist(append(old, made(1)...)); n != maxArchives {
		t.Errorf("%d archives are kept, want %d", n, maxArchives)
	}
}

func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPrepareChecksMemoryOfWhatItFinds prepares for a large guest, then for a
// small one.
func TestPrepareChecksMemoryOfWhatItFinds(t *testing.T) {
	o := options(t)
	root, initramfs := place(t, "root", packed(t, whole(entry{name: "a", mode: file, content: strings.Repeat("x", 4*mib)}))), testInitramfs(t)
	settle()
	if _, err := Prepare(t.Context(), root, initramfs, o); err != nil {
		t.Fatal(err)
	}
	o.MemoryBytes = 70 * mib
	archive, err := Prepare(t.Context(), root, initramfs, o)
	if err == nil || archive != "" || !strings.Contains(err.Error(), "a guest with 70 MiB") || !strings.Contains(err.Error(), "at least 78 MiB") {
		t.Errorf("got %q, %v", archive, err)
	}
}

func TestPrepareRefusesAFileThatChanges(t *testing.T) {
	root := place(t, "root", packed(t, whole(entry{name: "a", mode: file, content: "1"})))
	f, err := open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, err := identify(f)
	if err != nil {
		t.Fatal(err)
	}
	settle()
	overwrite(t, root, packed(t, whole(entry{name: "a", mode: file, content: "2"})))
	if after, err := identify(f); err != nil || after == before {
		t.Errorf("identity %+v before and %+v after, %v", before, after, err)
	}
}
