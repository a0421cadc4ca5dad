package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/vmtest"
)

// archive returns an archive of a snapshot.
func archive(t testing.TB, one *Snapshot, compress bool) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := one.Export(t.Context(), &b, compress); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive of a snapshot on others needs none of them, and holes stay holes.
func TestArchive(t *testing.T) {
	have := []pages{{0: 1, 5: 1, 6: 1, 255: 1}, {5: 2, 9: 2}, {6: 0, 9: 3}}
	from := OpenAt(t.TempDir())
	var one *Snapshot
	for i, p := range have {
		one = mustTake(t, from, fmt.Sprintf("n%d", i), one, p)
	}
	for _, compress := range []bool{false, true} {
		b := archive(t, one, compress)
		if most := 10 * align; len(b) > most {
			t.Errorf("the archive of 6 pages has %d bytes", len(b))
		}
		to := OpenAt(t.TempDir())
		got, err := to.Import(t.Context(), bytes.NewReader(b), "")
		if err != nil {
			t.Fatal(err)
		}
		m := got.Manifest
		if m.Name != "n2" || m.ID == one.Manifest.ID || m.Parent != "" || m.VM != "web" || !m.Created.Equal(one.Manifest.Created) || m.VCPUs != 2 {
			t.Errorf("compressed %v: imported as %+v", compress, m)
		}
		if err := got.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(memoryOf(t, got), filled(have...)) {
			t.Errorf("compressed %v: another memory", compress)
		}
		if n := blocks(t, got, Memory); n != 4*align {
			t.Errorf("compressed %v: %d bytes of memory take space, want 4 pages", compress, n)
		}
		for _, name := range []string{State, DiskSection("root")} {
			a, _ := one.Manifest.section(name)
			if b, _ := m.section(name); a.Size != b.Size || a.CRC32C != b.CRC32C {
				t.Errorf("compressed %v: section %s was %+v, and is %+v", compress, name, a, b)
			}
		}
	}
}

func TestImportNames(t *testing.T) {
	s := OpenAt(t.TempDir())
	one := mustTake(t, s, "a", nil, nil)
	b := archive(t, one, false)
	var taken *ExistsError
	for _, name := range []string{"", "a"} {
		if _, err := s.Import(t.Context(), bytes.NewReader(b), name); !errors.As(err, &taken) || taken.ID != one.Manifest.ID {
			t.Errorf("Import as %q: %v", name, err)
		}
	}
	got, err := s.Import(t.Context(), bytes.NewReader(b), "b")
	if err != nil || got.Manifest.Name != "b" {
		t.Errorf("Import as b: %v", err)
	}
	if left := inStore(t, s); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

// What is damaged is not exported as if it were not.
func TestExportVerifies(t *testing.T) {
	s := OpenAt(t.TempDir())
	base := mustTake(t, s, "base", nil, pages{1: 1})
	one := mustTake(t, s, "one", base, pages{2: 2})
	spoil(t, base, Memory, align)
	if err := one.Export(t.Context(), io.Discard, false); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "snapshot base: section memory") {
		t.Errorf("export of a damaged snapshot: %v", err)
	}
}

// Whoever cannot take an archive is told.
func TestExportToAFullDisk(t *testing.T) {
	one := mustTake(t, OpenAt(t.TempDir()), "a", nil, pages{1: 1})
	for _, compress := range []bool{false, true} {
		if err := one.Export(t.Context(), full{}, compress); !errors.Is(err, errFull) {
			t.Errorf("compressed %v: %v, want %v", compress, err, errFull)
		}
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// Layers of random pages are flattened to what is read through all of them.
func TestFlatten(t *testing.T) {
	random := rand.New(rand.NewPCG(vmtest.Seed(t), 0))
	const count = 64 // pages
	for range 200 {
		img := &guestmem.Image{Size: count * align}
		want := make([]byte, img.Size)
		for i := range 1 + random.IntN(4) {
			f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(int64(img.Size)); err != nil {
				t.Fatal(err)
			}
			layer := guestmem.Layer{File: f}
			if i > 0 {
				layer.Runs = []guestmem.Run{}
			}
			for page := random.Uint32N(8); page < count; page += 1 + random.Uint32N(8) {
				run := guestmem.Run{Page: page, Count: min(1+random.Uint32N(8), count-page)}
				part := bytes.Repeat([]byte{byte(random.IntN(3))}, int(run.Count)*align)
				if _, err := f.WriteAt(part, int64(page)*align); err != nil {
					t.Fatal(err)
				}
				copy(want[page*align:], part)
				if i > 0 {
					layer.Runs = append(layer.Runs, run)
				}
				page += run.Count
			}
			img.Layers = append(img.Layers, layer)
		}
		all, err := flatten(img)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, img.Size)
		var last int64
		for _, e := range all {
			if e.off < last || e.end <= e.off {
				t.Fatalf("extents that overlap or are empty: %+v", all)
			}
			last = e.end
			if _, err := e.from.ReadAt(got[e.off:e.end], e.off); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatal("another memory")
		}
	}
}
