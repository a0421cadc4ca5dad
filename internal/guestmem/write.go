package guestmem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
)

// writeChunk is how many bytes are looked at and written at once: few enough to be in
// the processor's cache when they are written.
const writeChunk = 1 << 20

// WriteImage writes all of the memory to f, an empty file, which becomes as large as the
// memory: the first layer of an image. Pages of zeros become holes. It returns the pages
// that it wrote, which a first layer need not know. Nobody may write to the memory
// meanwhile.
//
// The errors are those of [Memory.Touched], of the file, and ctx's; the file holds part
// of the memory then.
func (m *Memory) WriteImage(ctx context.Context, f *os.File) ([]Run, error) {
	runs, err := m.Touched()
	if err != nil {
		return nil, err
	}
	if m.image != nil {
		data, err := m.image.dataRuns()
		if err != nil {
			return nil, err
		}
		runs = union(runs, data)
		for _, l := range m.image.Layers[1:] {
			runs = union(runs, l.Runs)
		}
	}
	return m.write(ctx, f, runs, nonZero)
}

// WriteChanges writes the pages of [Memory.Touched] to f, an empty file, which becomes
// as large as the memory: one more layer above the image that the memory is based on. It
// returns the pages that it wrote, those of zeros among them. Nobody may write to the
// memory meanwhile.
//
// Memory without an image is an error; the others are those of [Memory.WriteImage].
func (m *Memory) WriteChanges(ctx context.Context, f *os.File) ([]Run, error) {
	if m.image == nil {
		return nil, errors.New("write changes of guest memory: it is based on no image")
	}
	runs, err := m.Touched()
	if err != nil {
		return nil, err
	}
	return m.write(ctx, f, runs, func(b []byte) []Run { return []Run{{0, uint32(len(b) / PageSize)}} })
}

// write writes to f what choose picks from each stretch of runs. Several goroutines
// would not be faster: a file lets in one that writes at a time.
func (m *Memory) write(ctx context.Context, f *os.File, runs []Run, choose func([]byte) []Run) ([]Run, error) {
	st, err := f.Stat()
	if err == nil && st.Size() != 0 {
		err = fmt.Errorf("the file has %d bytes already", st.Size())
	}
	if err == nil {
		err = f.Truncate(int64(m.Size()))
	}
	if err != nil {
		return nil, fmt.Errorf("write guest memory: %w", err)
	}
	written := []Run{}
	for first, b := range m.slices(runs, writeChunk) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("write guest memory: %w", err)
		}
		for _, r := range choose(b) {
			if _, err := f.WriteAt(b[offset(r.Page):][:offset(r.Count)], offset(first+r.Page)); err != nil {
				return nil, fmt.Errorf("write guest memory: %w", err)
			}
			written = extend(written, Run{first + r.Page, r.Count})
		}
	}
	return written, nil
}

// nonZero is the pages of b that are not all zeros.
func nonZero(b []byte) []Run {
	var runs []Run
	var zero [PageSize]byte
	for i := uint32(0); len(b) > 0; i, b = i+1, b[PageSize:] {
		if !bytes.Equal(b[:PageSize], zero[:]) {
			runs = extend(runs, Run{i, 1})
		}
	}
	return runs
}

// slices yields the bytes of runs, which are in order, at most limit of them at a time
// and never more than one region's, each with the page that they begin at.
func (m *Memory) slices(runs []Run, limit uint64) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		parts := m.parts()
		i := 0
		for _, r := range runs {
			for r.Count > 0 {
				for r.Page >= parts[i].end() {
					i++
				}
				n := min(r.Count, parts[i].end()-r.Page)
				if uint64(n) > limit/PageSize {
					n = uint32(limit / PageSize)
				}
				if !yield(r.Page, slice(m.maps[i].host, parts[i], Run{r.Page, n})) {
					return
				}
				r.Page, r.Count = r.Page+n, r.Count-n
			}
		}
	}
}
