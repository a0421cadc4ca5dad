package diskimage

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestConcurrentWriters: each has its own sectors of all blocks; nobody loses any,
// whatever happens to the rest of the block at the same time.
func TestConcurrentWriters(t *testing.T) {
	const writers, blocks, rounds = 4, 64, 30 // 2 sectors each
	for range rounds {
		base := random(blocks * blockSize)
		o, _ := overlaid(t, base)
		want := bytes.Clone(base)
		var all sync.WaitGroup
		for w := range writers {
			data := random(2 * sectorSize)
			order := rand.Perm(blocks)
			for b := range blocks {
				copy(want[b*blockSize+w*2*sectorSize:], data)
			}
			all.Go(func() {
				for _, b := range order {
					off := int64(b*blockSize + w*2*sectorSize)
					if err := o.WriteAtv([][]byte{data}, off); err != nil {
						t.Error(err)
					}
					got := make([]byte, len(data))
					if err := o.ReadAtv([][]byte{got}, off); err != nil || !bytes.Equal(got, data) {
						t.Errorf("writer %d does not find in block %d what it wrote: %v", w, b, err)
					}
				}
			})
		}
		all.Wait()
		got := make([]byte, len(want))
		if err := o.ReadAtv([][]byte{got}, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("something was lost: %v", err)
		}
	}
}

// TestWholeAgainstPart: one writes whole blocks, the other a sector of each: the rest of
// the block is the former's, never the base's.
func TestWholeAgainstPart(t *testing.T) {
	const blocks = 32
	for range 50 {
		o, _ := overlaid(t, bytes.Repeat([]byte{'b'}, blocks*blockSize))
		var both sync.WaitGroup
		both.Go(func() {
			for b := range int64(blocks / 2) {
				_ = o.WriteAtv([][]byte{bytes.Repeat([]byte{'w'}, 2*blockSize)}, 2*b*blockSize)
			}
		})
		both.Go(func() {
			for b := range int64(blocks) {
				_ = o.WriteAtv([][]byte{bytes.Repeat([]byte{'p'}, sectorSize)}, b*blockSize+sectorSize)
			}
		})
		both.Wait()
		got := make([]byte, blocks*blockSize)
		if err := o.ReadAtv([][]byte{got}, 0); err != nil || bytes.IndexByte(got, 'b') >= 0 {
			t.Fatalf("at %d the base came back: %v", bytes.IndexByte(got, 'b'), err)
		}
	}
}
