package snapshot

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// archiveWriter writes what follows an archive's header.
type archiveWriter struct {
	w     io.Writer
	sum   uint32 // of the section so far
	sums  uint32 // of the sums of the sections so far
	count uint32 // sections so far
	chunk []byte // data that waits to be written
	off   int64  // where it is in the section
}

func (w *archiveWriter) write(b []byte) error {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	_, err := w.w.Write(b)
	return err
}

// section writes a section with what body adds.
func (w *archiveWriter) section(name string, size int64, body func() error) error {
	w.sum = 0
	head := append([]byte{byte(len(name))}, name...)
	if err := w.write(binary.LittleEndian.AppendUint64(head, uint64(size))); err != nil {
		return err
	}
	if err := body(); err != nil {
		return err
	}
	if len(w.chunk) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.off = size
	if err := w.flush(); err != nil { // the empty chunk at the end
		return err
	}
	sum := binary.LittleEndian.AppendUint32(nil, w.sum)
	w.sums = crc32.Update(w.sums, castagnoli, sum)
	w.count++
	return w.write(sum)
}

// extents writes a section that consists of parts of files.
func (w *archiveWriter) extents(ctx context.Context, name string, size int64, all []extent) error {
	buf := make([]byte, piece)
	return w.section(name, size, func() error {
		for _, e := range all {
			if err := eachPiece(ctx, e.from, e.off, e.end-e.off, buf, w.add); err != nil {
				return err
			}
		}
		return nil
	})
}

// add writes b at off. Pages that are zero are left out.
func (w *archiveWriter) add(off int64, b []byte) error {
	return eachNonZero(off, b, func(off int64, b []byte) error {
		if len(w.chunk) > 0 && (off != w.off+int64(len(w.chunk)) || len(w.chunk)+len(b) > maxChunk) {
			if err := w.flush(); err != nil {
				return err
			}
		}
		if len(w.chunk) == 0 {
			w.off = off
		}
		w.chunk = append(w.chunk, b...)
		return nil
	})
}

// flush writes the chunk that waits.
func (w *archiveWriter) flush() error {
	head := binary.LittleEndian.AppendUint64(make([]byte, 0, chunkHead), uint64(w.off))
	head = binary.LittleEndian.AppendUint32(head, uint32(len(w.chunk)))
	if err := w.write(head); err != nil {
		return err
	}
	err := w.write(w.chunk)
	w.chunk = w.chunk[:0]
	return err
}

// end writes the end of the archive.
func (w *archiveWriter) end() error {
	b := binary.LittleEndian.AppendUint32([]byte{0}, w.count)
	return w.write(binary.LittleEndian.AppendUint32(b, w.sums))
}
