package snapshot

import (
	"context"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

func TestAddZeros(t *testing.T) {
	for _, before := range []string{"", "x", "some bytes"} {
		sum := crc32.Checksum([]byte(before), castagnoli)
		for _, n := range []int{0, 1, 2, 7, 8, 255, 4096, 1<<20 + 3} {
			want := crc32.Update(sum, castagnoli, make([]byte, n))
			if got := addZeros(sum, int64(n)); got != want {
				t.Errorf("%q and %d zeros: %08x, want %08x", before, n, got, want)
			}
		}
	}
}

// The sum of a file is that of its bytes, wherever its holes are.
func TestSumOfSparseFiles(t *testing.T) {
	random := rand.New(rand.NewPCG(vmtest.Seed(t), 0))
	path := filepath.Join(t.TempDir(), "f")
	for range 30 {
		size := random.Int64N(3 << 20)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for range random.IntN(10) {
			b := make([]byte, 1+random.IntN(20000))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			f.WriteAt(b, random.Int64N(3<<20))
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		sum, data, err := sumFile(t.Context(), f, size)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := crc32.Checksum(b, castagnoli); sum != want || data > size {
			t.Errorf("%d bytes, %d of them data: %08x, want %08x", size, data, sum, want)
		}
	}
}

func TestSumCanBeCancelled(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("data")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := sumFile(ctx, f, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}
