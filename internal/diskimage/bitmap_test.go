package diskimage

import (
	"math/rand/v2"
	"testing"
)

func TestBitmap(t *testing.T) {
	const blocks = 300
	for range 200 {
		m, want := newBitmap(blocks), make([]bool, blocks)
		for range rand.IntN(5) {
			from := rand.IntN(blocks)
			to := from + rand.IntN(blocks-from+1)
			m.set(int64(from), int64(to))
			for i := from; i < to; i++ {
				want[i] = true
			}
		}
		from := rand.IntN(blocks)
		to := from + rand.IntN(blocks-from+1)
		for _, set := range []bool{false, true} {
			next := from
			for next < to && want[next] != set {
				next++
			}
			if got := m.next(int64(from), int64(to), set); got != int64(next) {
				t.Fatalf("from %d to %d the next %v is %d, want %d", from, to, set, got, next)
			}
		}
		for i, w := range want {
			if m.has(int64(i)) != w {
				t.Fatalf("bit %d is %v", i, !w)
			}
		}
	}
}
