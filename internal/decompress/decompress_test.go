package decompress

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

var plain = bytes.Repeat([]byte("the guest kernel, packed "), 4000)

func TestNewReaderReadsEveryFormat(t *testing.T) {
	writers := map[string]func(w io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		"lzma": func(w io.Writer) (io.WriteCloser, error) { return lzma.NewWriter(w) },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		"lz4":  func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil },
		"lz4 legacy": func(w io.Writer) (io.WriteCloser, error) {
			lw := lz4.NewWriter(w)
			return lw, lw.Apply(lz4.LegacyOption(true))
		},
	}
	for name, open := range writers {
		t.Run(name, func(t *testing.T) {
			var packed bytes.Buffer
			w, err := open(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			format, got := readAll(t, packed.Bytes())
			if !bytes.Equal(got, plain) {
				t.Errorf("%s: got %d bytes, want the %d that were packed", format, len(got), len(plain))
			}
		})
	}
}

// There is no bzip2 writer in Go: this is "holt\n" packed by bzip2.
const bzip2Holt = "QlpoOTFBWSZTWX24oFMAAADBgAAQAESEACAAMM0AwaEMcXckU4UJB9uKBTA="

func TestNewReaderUnsupported(t *testing.T) {
	xzBCJ := []byte{0xfd, '7', 'z', 'X', 'Z', 0, 0, 1, 0x69, 0x22, 0xde, 0x36} // stream header
	block := []byte{3, 1, 4, 0, 0x21, 1, 22, 0, 0, 0, 0, 0}
	xzBCJ = binary.LittleEndian.AppendUint32(append(xzBCJ, block...), crc32.ChecksumIEEE(block))
	for name, data := range map[string][]byte{
		"empty":       nil,
		"plain text":  []byte("#!/bin/sh\necho no kernel\n"),
		"ELF":         []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"lzo":         []byte("\x89LZO\x00\x0d\x0a\x1a\x0a aaaaaaaaaaaa"),
		"xz with BCJ": xzBCJ,
	} {
		if _, _, err := NewReader(bytes.NewReader(data)); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: got %v, want ErrUnsupported", name, err)
		}
	}
}

func TestDamagedStreamIsNotUnsupported(t *testing.T) {
	_, rc, err := NewReader(bytes.NewReader([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff}))
	if err == nil {
		_, err = io.ReadAll(rc)
	}
	if err == nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v, want an error that is not ErrUnsupported", err)
	}
}

func readAll(t *testing.T, packed []byte) (string, []byte) {
	t.Helper()
	format, rc, err := NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	got, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return format, got
}

func TestBzip2(t *testing.T) {
	packed, err := base64.StdEncoding.DecodeString(bzip2Holt)
	if err != nil {
		t.Fatal(err)
	}
	if format, got := readAll(t, packed); format != "bzip2" || string(got) != "holt\n" {
		t.Errorf("got %s %q", format, got)
	}
}
