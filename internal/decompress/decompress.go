// Package decompress opens a compressed stream by its first bytes, whatever
// the format: kernel payloads, kernel modules and Debian packages come in all
// of them.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// ErrUnsupported says that the data is compressed in a way that cannot be
// read here, or not compressed at all; it is not known to be damaged.
var ErrUnsupported = errors.New("unsupported compression")

// maxWindow is the most history a decoder may keep, in bytes. Kernels are
// packed with zstd -22 --ultra, whose window is 128 MiB.
const maxWindow = 128 << 20

// peek is how much of the start a format needs to recognise its data.
const peek = 14

var formats = []struct {
	name  string
	match func(head []byte) bool
	open  func(r *bufio.Reader) (io.ReadCloser, error)
}{
	{"gzip", magic(0x1f, 0x8b, 8), func(r *bufio.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }},
	{"xz", magic(0xfd, '7', 'z', 'X', 'Z', 0), openXZ},
	{"zstd", magic(0x28, 0xb5, 0x2f, 0xfd), openZstd},
	{"lz4", isLZ4, func(r *bufio.Reader) (io.ReadCloser, error) { return io.NopCloser(lz4.NewReader(r)), nil }},
	{"bzip2", magic('B', 'Z', 'h'), func(r *bufio.Reader) (io.ReadCloser, error) { return io.NopCloser(bzip2.NewReader(r)), nil }},
	{"lzma", isLZMA, openLZMA},
}

// NewReader recognises the format of r and returns its name and its
// uncompressed stream. It returns ErrUnsupported for anything unknown. The
// stream may be endless for hostile input: the caller bounds what it reads.
func NewReader(r io.Reader) (string, io.ReadCloser, error) {
	// The xz decoder reads byte by byte: without a buffer it takes seven
	// times as long.
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(peek)
	if err != nil && err != io.EOF {
		return "", nil, err
	}
	for _, f := range formats {
		if !f.match(head) {
			continue
		}
		rc, err := f.open(br)
		if err != nil {
			return f.name, nil, fmt.Errorf("open %s stream: %w", f.name, err)
		}
		return f.name, rc, nil
	}
	return "", nil, ErrUnsupported
}

func magic(prefix ...byte) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, prefix) }
}

// isLZ4 accepts the frame format and the legacy one, which kernels use.
func isLZ4(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0x04, 0x22, 0x4d, 0x18}) || bytes.HasPrefix(head, []byte{0x02, 0x21, 0x4c, 0x18})
}

// isLZMA recognises the header of the old .lzma format, which has no magic
// number: the usual properties (lc=3 lp=0 pb=2) and a dictionary size that is
// a power of two.
func isLZMA(head []byte) bool {
	return len(head) >= 13 && head[0] == 0x5d && head[1] == 0 && head[2] == 0 && bytes.Count(head[3:5], []byte{0}) <= 1
}

func openZstd(r *bufio.Reader) (io.ReadCloser, error) {
	zr, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return zr.IOReadCloser(), nil
}

func openLZMA(r *bufio.Reader) (io.ReadCloser, error) {
	lr, err := lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(lr), nil
}
