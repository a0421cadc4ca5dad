package decompress

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// xzStream packs data in blocks of a size, with a kind of check (2.1.1.2).
func xzStream(t *testing.T, data []byte, block int64, check byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 64 << 10, BlockSize: block, CheckSum: check, NoCheckSum: check == 0}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestXZBlocks reads streams of many blocks, of all kinds of check, compressible
// and not, to their last byte.
func TestXZBlocks(t *testing.T) {
	noise := make([]byte, 20_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for name, data := range map[string][]byte{
		"empty": nil, "a byte": {'x'}, "text": plain[:20_000], "noise": noise, "both": append(noise[:7_001:7_001], plain[:20_000]...),
	} {
		for _, check := range []byte{0, xz.CRC32, xz.CRC64, xz.SHA256} {
			for _, block := range []int64{1, 1001, 1 << 20} {
				if int64(len(data))/block > 30 {
					continue
				}
				format, got := readAll(t, xzStream(t, data, block, check))
				if format != "xz" || !bytes.Equal(got, data) {
					t.Errorf("%s, check %d, blocks of %d: %s, %d bytes", name, check, block, format, len(got))
				}
			}
		}
	}
}

// TestXZWindowIsBounded: few bytes must not make the decoder allocate gigabytes,
// wherever they stand.
func TestXZWindowIsBounded(t *testing.T) {
	three := xzStream(t, []byte("one block."+"two blocks"+"three bl.."), 10, xz.CRC32)
	var headers []int // of the blocks: what has an LZMA2 filter and the right checksum
	for at := xzHeader; at+8 < len(three); at += 4 {
		size := (int(three[at]) + 1) * 4
		if at+size <= len(three) && bytes.Contains(three[at:at+size], []byte{xzLZMA2, 1}) &&
			crc32.ChecksumIEEE(three[at:at+size-4]) == binary.LittleEndian.Uint32(three[at+size-4:]) {
			headers = append(headers, at)
		}
	}
	if len(headers) != 3 {
		t.Fatalf("block headers at %v", headers)
	}
	// large gives the n-th block a window of 3 GiB.
	large := func(n int) []byte {
		b := bytes.Clone(three)
		head := b[headers[n]:][:(int(b[headers[n]])+1)*4]
		head[bytes.Index(head, []byte{xzLZMA2, 1})+2] = 39
		binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.ChecksumIEEE(head[:len(head)-4]))
		return b
	}
	for n := range 3 {
		_, rc, err := NewReader(bytes.NewReader(large(n)))
		var got []byte
		if err == nil {
			got, err = io.ReadAll(rc)
		}
		if err == nil || !strings.Contains(err.Error(), "a window of 3221225472 bytes") || len(got) > 10*n {
			t.Errorf("block %d: %q, %v", n, got, err)
		}
	}
	// What follows the stream is left alone.
	if _, got := readAll(t, append(bytes.Clone(three), large(0)...)); len(got) != 30 {
		t.Errorf("%d bytes of a stream with another behind it", len(got))
	}
}

// TestXZDamage cuts a stream and flips its bits: that is an error, or makes no
// difference.
func TestXZDamage(t *testing.T) {
	want := plain[:2000]
	whole := xzStream(t, want, 700, xz.CRC64)
	read := func(b []byte) ([]byte, error) {
		_, rc, err := NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(rc)
	}
	differ := 0
	for n := range whole {
		cut, err := read(whole[:n])
		if err == nil && !bytes.Equal(cut, want) {
			t.Errorf("cut at %d of %d: %d bytes without an error", n, len(whole), len(cut))
		}
		b := bytes.Clone(whole)
		b[n] ^= 0x10
		changed, err2 := read(b)
		if err2 == nil && !bytes.Equal(changed, want) {
			t.Errorf("byte %d of %d changed: %d bytes without an error", n, len(whole), len(changed))
		}
		if err != nil && err2 != nil {
			differ++
		}
	}
	if differ < len(whole)/2 {
		t.Errorf("%d of %d bytes matter", differ, len(whole))
	}
}
