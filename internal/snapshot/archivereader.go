package snapshot

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// archiveReader reads an archive.
type archiveReader struct {
	r     io.Reader
	close func()
	sum   uint32 // of the section so far
	sums  uint32 // of the sums of the sections so far
	count uint32 // sections so far
}

// openArchive reads an archive's header. The caller calls close in the end.
func openArchive(r *bufio.Reader) (*archiveReader, error) {
	a := &archiveReader{r: r, close: func() {}}
	var head [headerBytes]byte
	if begin, _ := r.Peek(len(archiveMagic)); string(begin) != archiveMagic[:len(begin)] {
		return nil, errors.New("it is no archive of a snapshot")
	}
	if err := a.read(head[:]); err != nil {
		return nil, err
	}
	version, flags := binary.LittleEndian.Uint32(head[8:]), binary.LittleEndian.Uint32(head[12:])
	switch {
	case version != archiveVersion:
		return nil, fmt.Errorf("an archive of version %d, and this holt knows version %d: use the holt that made it", version, archiveVersion)
	case flags&^flagZstd != 0:
		return nil, fmt.Errorf("an archive with unknown flags %#x: use the holt that made it", flags)
	}
	if flags&flagZstd != 0 {
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(window), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		a.r, a.close = z, z.Close
	}
	return a, nil
}

// read fills b.
func (a *archiveReader) read(b []byte) error {
	_, err := io.ReadFull(a.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the archive is cut off: it %w", ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("read the archive: %w", err)
	}
	a.sum = crc32.Update(a.sum, castagnoli, b)
	return nil
}

// next reads the head of the next section. After the last, at the end of the archive, it
// returns io.EOF.
func (a *archiveReader) next() (name string, size int64, err error) {
	a.sum = 0
	var n [1]byte
	if err := a.read(n[:]); err != nil {
		return "", 0, err
	}
	if n[0] == 0 {
		return "", 0, a.end()
	}
	b := make([]byte, int(n[0])+8)
	if err := a.read(b); err != nil {
		return "", 0, err
	}
	name = string(b[:n[0]])
	if size = int64(binary.LittleEndian.Uint64(b[n[0]:])); size < 0 {
		return "", 0, fmt.Errorf("section %.80q: a size of %d bytes", name, uint64(size))
	}
	return name, size, nil
}

// body reads the chunks of a section of size bytes, and checks the sum at their end. b
// is as long as do runs.
func (a *archiveReader) body(ctx context.Context, size int64, do func(off int64, b []byte) error) error {
	var buf []byte
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var head [chunkHead]byte
		if err := a.read(head[:]); err != nil {
			return err
		}
		off, n := int64(binary.LittleEndian.Uint64(head[:])), int64(binary.LittleEndian.Uint32(head[8:]))
		if n == 0 && off == size {
			return a.checkSum()
		}
		if n == 0 || n > maxChunk || off < at || off > size-n || off%align != 0 || n%align != 0 && off+n != size {
			return fmt.Errorf("a chunk of %d bytes at %d of %d, after %d: the archive %w", n, uint64(off), size, at, ErrDamaged)
		}
		if int64(len(buf)) < n {
			buf = make([]byte, n)
		}
		if err := a.read(buf[:n]); err != nil {
			return err
		}
		if err := do(off, buf[:n]); err != nil {
			return err
		}
		at = off + n
	}
}

// checkSum compares the section's sum with what was read.
func (a *archiveReader) checkSum() error {
	sum := a.sum
	var b [4]byte
	if err := a.read(b[:]); err != nil {
		return err
	}
	if want := binary.LittleEndian.Uint32(b[:]); sum != want {
		return fmt.Errorf("the checksum is %08x, and it was %08x: the archive %w", sum, want, ErrDamaged)
	}
	a.sums = crc32.Update(a.sums, castagnoli, b[:])
	a.count++
	return nil
}

// end checks that all sections were there, and that nothing follows.
func (a *archiveReader) end() error {
	var b [8]byte
	if err := a.read(b[:]); err != nil {
		return err
	}
	if count, sums := binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint32(b[4:]); count != a.count || sums != a.sums {
		return fmt.Errorf("the end is that of other sections: the archive %w", ErrDamaged)
	}
	switch n, err := io.ReadFull(a.r, b[:1]); {
	case n > 0:
		return fmt.Errorf("something follows the archive's end: it %w", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read the archive's end: %w", err)
	}
	return io.EOF
}
