package snapshot

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// piece is how much is read or written at a time, in bytes.
const piece = 1 << 20

// sumFile returns the checksum of the first size bytes of f, holes being zeros, and how
// many of them are no holes. Holes are not read.
func sumFile(ctx context.Context, f *os.File, size int64) (sum uint32, data int64, err error) {
	buf := make([]byte, piece)
	var at int64
	err = eachData(f, size, func(off, n int64) error {
		sum = addZeros(sum, off-at)
		at = off + n
		data += n
		return eachPiece(ctx, f, off, n, buf, func(_ int64, b []byte) error {
			sum = crc32.Update(sum, castagnoli, b)
			return nil
		})
	})
	return addZeros(sum, size-at), data, err
}

// eachPiece reads the n bytes of f from off on, one buffer after the other.
func eachPiece(ctx context.Context, f io.ReaderAt, off, n int64, buf []byte, do func(off int64, b []byte) error) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(n, int64(len(buf)))]
		if _, err := f.ReadAt(b, off); err != nil {
			return fmt.Errorf("read at %d: %w", off, err)
		}
		if err := do(off, b); err != nil {
			return err
		}
		off += int64(len(b))
		n -= int64(len(b))
	}
	return nil
}

// eachData calls do for each part of the first size bytes of f that is no hole, in
// order. The file's offset moves.
func eachData(f *os.File, size int64, do func(off, n int64) error) error {
	for at := int64(0); at < size; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole
		}
		if err != nil {
			return err
		}
		if start >= size {
			return nil
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, size)
		if err := do(start, end-start); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// A byte b that follows turns the register r of a CRC, read as a polynomial, into
// (r + b)·x⁸ modulo the CRC's own; n zeros turn it into r·x⁸ⁿ, which takes as many
// multiplications as n has bits. Polynomials are reversed as in the register: the
// highest bit is x⁰.
const (
	xTo0 = 1 << 31
	xTo8 = 1 << 23
)

// addZeros returns the checksum of what sum is of and n zeros after it.
func addZeros(sum uint32, n int64) uint32 {
	power := uint32(xTo0)
	for square := uint32(xTo8); n > 0; n >>= 1 {
		if n&1 != 0 {
			power = multiply(power, square)
		}
		square = multiply(square, square)
	}
	return ^multiply(^sum, power) // the register is the sum's complement
}

func multiply(a, b uint32) uint32 {
	var product uint32
	for ; a != 0; a <<= 1 {
		if a&xTo0 != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= crc32.Castagnoli
		}
	}
	return product
}
