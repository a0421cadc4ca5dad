package decompress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// The container of the xz format (tukaani.org/xz/xz-file-format.txt) is read here,
// not by the library that decodes what is in it: that one allocates whatever window
// a block asks for, which is up to 4 GiB for a few bytes of input, block by block.
const (
	xzHeader = 12   // size of a stream header (2.1.1)
	xzLZMA2  = 0x21 // filter ID (5.3.1)
)

var errXZ = errors.New("xz: damaged stream")

// xzReader reads one stream. Everything but the index is checked: that says again
// how long the blocks were.
type xzReader struct {
	r      *bufio.Reader
	newSum func() hash.Hash // of the stream's kind of check; nil for none

	// Of the current block:
	data   io.Reader // nil between two
	packed countingReader
	sum    hash.Hash
}

// openXZ reads the headers of the stream and of its first block.
func openXZ(r *bufio.Reader) (io.ReadCloser, error) {
	x := &xzReader{r: r}
	if err := x.streamHeader(); err != nil {
		return nil, err
	}
	if err := x.nextBlock(); err != nil && !errors.Is(err, io.EOF) { // an empty stream
		return nil, err
	}
	return io.NopCloser(x), nil
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if x.data == nil {
			if err := x.nextBlock(); err != nil {
				return 0, err
			}
		}
		n, err := x.data.Read(p)
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// streamHeader reads what kind of check there is.
func (x *xzReader) streamHeader() error {
	var b [xzHeader]byte
	if _, err := io.ReadFull(x.r, b[:]); err != nil {
		return unexpected(err)
	}
	if b[6] != 0 || binary.LittleEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[6:8]) {
		return errXZ
	}
	switch b[7] { // 2.1.1.2
	case 0:
	case 1:
		x.newSum = func() hash.Hash { return crc32.NewIEEE() }
	case 4:
		x.newSum = func() hash.Hash { return crc64.New(crc64.MakeTable(crc64.ECMA)) }
	case 10:
		x.newSum = sha256.New
	default:
		return fmt.Errorf("%w: xz with check %d", ErrUnsupported, b[7])
	}
	return nil
}

// nextBlock reads a block header (3.1). At the index it returns io.EOF.
func (x *xzReader) nextBlock() error {
	first, err := x.r.Peek(1)
	if err != nil {
		return unexpected(err)
	}
	if first[0] == 0 {
		return io.EOF
	}
	b := make([]byte, (int(first[0])+1)*4)
	if _, err := io.ReadFull(x.r, b); err != nil {
		return unexpected(err)
	}
	b, sum := b[:len(b)-4], b[len(b)-4:]
	if binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(b) {
		return errXZ
	}
	window, err := blockWindow(b[1:])
	if err != nil {
		return err
	}
	if x.newSum != nil {
		x.sum = x.newSum()
	}
	x.packed = countingReader{r: x.r}
	data, err := lzma.Reader2Config{DictCap: window}.NewReader2(&x.packed)
	if err != nil {
		return err
	}
	x.data = data
	return nil
}

// blockWindow reads a block header from its flags on and returns how much history
// its data needs, in bytes. x86 kernels have a filter that the decoder does not
// know (BCJ): their owner should learn why they are refused.
func blockWindow(b []byte) (int, error) {
	flags := b[0]
	if flags&3 != 0 {
		return 0, fmt.Errorf("%w: an executable filter (BCJ)", ErrUnsupported)
	}
	b = b[1:]
	for _, present := range []byte{0x40, 0x80} { // the sizes, packed and not
		if flags&present != 0 {
			_, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, errXZ
			}
			b = b[n:]
		}
	}
	if len(b) < 3 || b[0] != xzLZMA2 || b[1] != 1 || b[2] > 40 {
		return 0, errXZ
	}
	window := int64(2|b[2]&1) << (b[2]/2 + 11) // 5.3.1; 40 means a byte less than this
	if window > maxWindow {
		return 0, fmt.Errorf("xz: a window of %d bytes, the limit is %d", window, maxWindow)
	}
	return int(window), nil
}

// endBlock reads a block's padding and its check.
func (x *xzReader) endBlock() error {
	x.data = nil
	for ; x.packed.n%4 != 0; x.packed.n++ {
		if b, err := x.r.ReadByte(); err != nil {
			return unexpected(err)
		} else if b != 0 {
			return errXZ
		}
	}
	if x.sum == nil {
		return nil
	}
	got, want := x.sum.Sum(nil), make([]byte, x.sum.Size())
	if _, err := io.ReadFull(x.r, want); err != nil {
		return unexpected(err)
	}
	if x.sum.Size() <= 8 { // the CRCs are little-endian
		slices.Reverse(got)
	}
	if !bytes.Equal(got, want) {
		return errXZ
	}
	return nil
}

// countingReader counts what is read. The decoder reads no further than it must.
type countingReader struct {
	r *bufio.Reader
	n int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, unexpected(err)
}

// unexpected turns the end of the file, which the index comes before, into an
// error.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
