package snapshot

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// spots are places in an archive: all but those within pages of data, of which a few do.
func spots(b []byte) []int {
	random := rand.New(rand.NewPCG(1, 1))
	var all []int
	for i := range b {
		if i < 100 || i > len(b)-200 || random.IntN(50) == 0 {
			all = append(all, i)
		}
	}
	return all
}

// An archive that is cut off anywhere, or has any bit changed, is refused.
func TestImportOfSpoiledArchives(t *testing.T) {
	random := rand.New(rand.NewPCG(vmtest.Seed(t), 0))
	one := mustTake(t, OpenAt(t.TempDir()), "a", nil, pages{1: 1, 9: 9})
	s := OpenAt(t.TempDir())
	for _, compress := range []bool{false, true} {
		b := archive(t, one, compress)
		for _, i := range spots(b) {
			if _, err := s.Import(t.Context(), bytes.NewReader(b[:i]), ""); err == nil || !strings.Contains(err.Error(), "cut off") {
				t.Errorf("compressed %v, %d bytes of %d: %v", compress, i, len(b), err)
			}
			bad := bytes.Clone(b)
			bad[i] ^= 1 << random.IntN(8)
			got, err := s.Import(t.Context(), bytes.NewReader(bad), "")
			if err == nil && !compress {
				t.Errorf("byte %d of %d is changed, and nobody notices", i, len(b))
			}
			if err != nil {
				continue
			}
			// A bit of zstd's own that changes nothing of the content.
			if !bytes.Equal(memoryOf(t, got), memoryOf(t, one)) {
				t.Errorf("byte %d of %d is changed, and the memory with it", i, len(b))
			}
			if err := s.Remove(t.Context(), got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left := inStore(t, s); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// Sections of two archives do not make a third.
func TestImportOfMixedArchives(t *testing.T) {
	a := whole()
	_ = a.w.end()
	b := newForged().manifest(plain).
		section(State, 5, []byte("other")).
		section(DiskSection("root"), diskBytes, nil).
		section(Memory, memoryBytes, []byte("memory"))
	_ = b.w.end()
	mixed := append(bytes.Clone(a.b.Bytes()[:a.b.Len()-9]), b.b.Bytes()[b.b.Len()-9:]...)
	if _, err := OpenAt(t.TempDir()).Import(t.Context(), bytes.NewReader(mixed), ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("an archive with another's end: %v", err)
	}
}
