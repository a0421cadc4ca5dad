package snapshot

import (
	"bytes"

	"github.com/holtvm/holt/internal/guestmem"
)

// What an archive consists of. Numbers are little-endian.
const (
	archiveMagic   = "holtsnap"
	archiveVersion = 1

	// headerBytes are the magic, the version and the flags.
	headerBytes = len(archiveMagic) + 4 + 4
	// flagZstd says that all that follows the header is one zstd stream.
	flagZstd = 1

	// chunkHead is a chunk's offset and length.
	chunkHead = 8 + 4
	// maxChunk is the most bytes in a chunk.
	maxChunk = 1 << 20
	// window is how far back a zstd stream may refer, in bytes.
	window = 8 << 20
)

// align is the unit of chunks: they begin at multiples of it, and end at one or at the
// section's end.
const align = guestmem.PageSize

var zeroPage = make([]byte, align)

// isZero reports whether b, of a page or less, is zero.
func isZero(b []byte) bool { return bytes.Equal(b, zeroPage[:len(b)]) }

// eachNonZero calls do for each run of pages in b that are not zero. b is at off, which
// is aligned.
func eachNonZero(off int64, b []byte, do func(off int64, b []byte) error) error {
	for len(b) > 0 {
		n := 0
		for n < len(b) && !isZero(b[n:min(n+align, len(b))]) {
			n = min(n+align, len(b))
		}
		if n > 0 {
			if err := do(off, b[:n]); err != nil {
				return err
			}
		} else {
			n = min(align, len(b))
		}
		off += int64(n)
		b = b[n:]
	}
	return nil
}
