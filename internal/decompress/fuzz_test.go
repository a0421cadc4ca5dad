package decompress

import (
	"bytes"
	"encoding/base64"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// FuzzNewReader reads any bytes as a compressed stream, up to a bound as callers
// do. It must come back, without a panic.
func FuzzNewReader(f *testing.F) {
	for _, open := range []func(w io.Writer) (io.WriteCloser, error){
		func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
		func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) },
		func(w io.Writer) (io.WriteCloser, error) { return lzma.NewWriter(w) },
		func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
		func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil },
		func(w io.Writer) (io.WriteCloser, error) {
			lw := lz4.NewWriter(w)
			return lw, lw.Apply(lz4.LegacyOption(true))
		},
	} {
		var packed bytes.Buffer
		w, err := open(&packed)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := w.Write(plain[:100]); err != nil {
			f.Fatal(err)
		}
		if err := w.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(packed.Bytes())
	}
	bz, err := base64.StdEncoding.DecodeString(bzip2Holt)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bz)
	f.Fuzz(func(t *testing.T, b []byte) {
		const bound = 1 << 20
		_, rc, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer rc.Close()
		if n, _ := io.Copy(io.Discard, io.LimitReader(rc, bound)); n > bound {
			t.Errorf("%d bytes", n)
		}
	})
}
