package diskimage

import (
	"math"
	"math/bits"
	"sync/atomic"
)

const wordBits = 64

// bitmap has a bit for each block of a disk. Bits are set, by any goroutine at any
// time, and never cleared. Memory whose bits were never looked at takes no space.
type bitmap []atomic.Uint64

func newBitmap(blocks int64) bitmap { return make(bitmap, (blocks+wordBits-1)/wordBits) }

// has reports whether a block's bit is set.
func (m bitmap) has(block int64) bool {
	return m[block/wordBits].Load()>>(block%wordBits)&1 != 0
}

// set sets the bits of the blocks between two.
func (m bitmap) set(from, to int64) {
	for from < to {
		next := min(to, (from/wordBits+1)*wordBits)
		mask := uint64(math.MaxUint64) >> (wordBits - (next - from)) << (from % wordBits)
		// A store to what other processors read costs them more than this look.
		if w := &m[from/wordBits]; w.Load()&mask != mask {
			w.Or(mask)
		}
		from = next
	}
}

// next is the first block between two whose bit is set, or is not; to if there is none.
func (m bitmap) next(from, to int64, set bool) int64 {
	for from < to {
		w := m[from/wordBits].Load()
		if !set {
			w = ^w
		}
		if w >>= from % wordBits; w != 0 {
			return min(to, from+int64(bits.TrailingZeros64(w)))
		}
		from = (from/wordBits + 1) * wordBits
	}
	return to
}
