package filetree

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCopyKeepsRandomTrees(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
			r := rand.New(rand.NewPCG(seed, 1))
			must(t, os.Mkdir(from, 0o700))
			grow(t, r, from, 3)
			adorn(t, r, from)
			want := snapshot(t, from)
			clone(t, from, to)
			same(t, snapshot(t, to), want)
		})
	}
}

// Paths as long as Linux takes, and deeper than a process may have descriptors.
func TestCopyKeepsDeepTrees(t *testing.T) {
	for _, shape := range []struct {
		name   string
		levels int
	}{{"a", 1100}, {strings.Repeat("long", 4), 200}, {strings.Repeat("x", 255), 14}} {
		dir := t.TempDir()
		from, to := filepath.Join(dir, "f"), filepath.Join(dir, "t")
		deepest := filepath.Join(from, strings.Repeat(shape.name+"/", shape.levels))
		must(t, os.MkdirAll(deepest, 0o700))
		must(t, os.WriteFile(filepath.Join(deepest, "z"), []byte("deep"), 0o600))
		must(t, os.WriteFile(filepath.Join(from, "z"), []byte("last"), 0o600))

		before := openFDs(t)
		src, err := Open(from, ReadOptions{})
		must(t, err)
		dst, err := Create(to, WriteOptions{})
		must(t, err)
		for range shape.levels + 2 {
			e, data, err := src.Next()
			must(t, err)
			must(t, dst.Put(e, data))
		}
		if more := openFDs(t) - before; more > 10 {
			t.Errorf("%d descriptors at level %d", more, shape.levels)
		}
		must(t, Copy(dst, src))
		must(t, src.Close())
		if left := openFDs(t) - before; left > 0 {
			t.Errorf("%d descriptors stay open", left)
		}
		same(t, snapshot(t, to), snapshot(t, from))
	}
}

func TestCopyOfSingleFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o640))
	must(t, os.Symlink("file", filepath.Join(dir, "link")))
	for _, name := range []string{"file", "link"} {
		to := filepath.Join(dir, "copy of "+name)
		clone(t, filepath.Join(dir, name), to)
		clone(t, filepath.Join(dir, name), to) // replaces
		if got, want := snapshot(t, to)["."], snapshot(t, filepath.Join(dir, name))["."]; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	src, err := Open(filepath.Join(dir, "link"), ReadOptions{Follow: true})
	must(t, err)
	defer src.Close()
	if _, data := listed(t, src); data["."] != "text" {
		t.Errorf("followed: %q", data)
	}
}

func BenchmarkCopy20000Files(b *testing.B) {
	from := b.TempDir()
	for i := range 20000 {
		dir := filepath.Join(from, fmt.Sprint("some/directory", i/100))
		if i%100 == 0 {
			must(b, os.MkdirAll(dir, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), make([]byte, 1024), 0o644))
	}
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			src, err := Open(from, ReadOptions{})
			must(b, err)
			listed(b, src)
			must(b, src.Close())
		}
	})
	b.Run("copy", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			clone(b, from, filepath.Join(b.TempDir(), fmt.Sprint(i)))
		}
	})
}
