package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// overlaid makes an Overlay above a file with the given content.
func overlaid(t testing.TB, base []byte) (*Overlay, *os.File) {
	t.Helper()
	f := target(t)
	if _, err := f.Write(base); err != nil {
		t.Fatal(err)
	}
	o, err := OpenOverlay(f, int64(len(base)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o, f
}

// model is an Overlay, and what it must be like.
type model struct {
	t       testing.TB
	o       *Overlay
	base    []byte
	file    *os.File // with base
	want    []byte
	unknown []bool // by sector: discarded
}

func newModel(t testing.TB, base []byte) *model {
	o, f := overlaid(t, base)
	return &model{t, o, base, f, bytes.Clone(base), make([]bool, len(base)/sectorSize)}
}

// known notes what a change of n bytes made of them.
func (m *model) known(off, n int, unknown bool) {
	for i := off / sectorSize; i < (off+n)/sectorSize; i++ {
		m.unknown[i] = unknown
	}
}

// same compares what was read with what it must be.
func (m *model) same(what string, got []byte, off int) {
	m.t.Helper()
	for i := 0; i < len(got); i += sectorSize {
		if !m.unknown[(off+i)/sectorSize] && !bytes.Equal(got[i:i+sectorSize], m.want[off+i:][:sectorSize]) {
			m.t.Fatalf("%s: sector %d is not as it should be", what, (off+i)/sectorSize)
		}
	}
}

// do does one operation with n bytes from off on.
func (m *model) do(op byte, off, n int, data []byte) {
	m.t.Helper()
	var err error
	done := true
	switch at := int64(off); op % 6 {
	case 0:
		got := make([]byte, n)
		if err = m.o.ReadAtv(cut(got, 5000), at); err == nil {
			m.same("read", got, off)
		}
	case 1:
		got := make([]byte, n)
		if done, err = m.o.TryRead(cut(got, 5000), at); done && err == nil {
			m.same("tried read", got, off)
		}
	case 2, 3:
		if op%6 == 2 {
			err = m.o.WriteAtv(cut(data, 5000), at)
		} else {
			done, err = m.o.TryWrite(cut(data, 5000), at)
		}
		if done {
			copy(m.want[off:], data)
			m.known(off, n, false)
		}
	case 4:
		err = m.o.WriteZeroes(at, int64(n), op&64 != 0)
		clear(m.want[off : off+n])
		m.known(off, n, false)
	case 5:
		err = m.o.Discard(at, int64(n))
		m.known(off, n, true)
	}
	if err != nil {
		m.t.Fatalf("operation %d, %d bytes from %d on: %v", op%6, n, off, err)
	}
}

// check compares all of it, and a copy, and the base with what it was.
func (m *model) check() {
	m.t.Helper()
	size := len(m.base)
	got := make([]byte, size)
	if err := m.o.ReadAtv([][]byte{got}, 0); err != nil {
		m.t.Fatal(err)
	}
	m.same("at last", got, 0)
	for _, dst := range []*os.File{target(m.t), memfd(m.t)} {
		if err := m.o.CopyTo(m.t.Context(), dst); err != nil {
			m.t.Fatal(err)
		}
		m.same("the copy", content(m.t, dst, int64(size)), 0)
	}
	// A file system that shares blocks leaves the copy like this before the changes.
	shared := copier{ctx: m.t.Context(), dst: plain(memfd(m.t), int64(size)), shared: m.o.base}
	if err := errors.Join(shared.dst.WriteAtv([][]byte{m.base}, 0), m.o.copy(&shared)); err != nil {
		m.t.Fatal(err)
	}
	m.same("the copy with shared blocks", content(m.t, shared.dst.f, int64(size)), 0)
	if !bytes.Equal(content(m.t, m.file, int64(size)), m.base) {
		m.t.Error("the base was written")
	}
}

// TestOverlay compares an Overlay with plain memory.
func TestOverlay(t *testing.T) {
	for _, sectors := range []int{1, 8, 13, 8 * 200, 8*200 + 3} {
		t.Run(fmt.Sprint(sectors), func(t *testing.T) {
			base := random(sectors * sectorSize)
			if sectors > 100 {
				clear(base[50*sectorSize : 80*sectorSize])
			}
			m := newModel(t, base)
			for range 3000 {
				off := rand.IntN(sectors)
				n := 1 + rand.IntN(min(sectors-off, 1+rand.IntN(60)))
				m.do(byte(rand.Uint32()), off*sectorSize, n*sectorSize, random(n*sectorSize))
			}
			m.check()
		})
	}
}

// FuzzOverlay does operations that the input describes, of 4 bytes each: kind, sector
// and number of sectors.
func FuzzOverlay(f *testing.F) {
	f.Add([]byte{2, 0, 1, 9, 0, 0, 0, 16, 4, 3, 30, 1, 5, 0, 8, 8})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const sectors = 8*5 + 2
		m := newModel(t, bytes.Repeat([]byte{0xb5}, sectors*sectorSize))
		for ; len(ops) >= 4; ops = ops[4:] {
			off := int(ops[1]) % sectors
			n := 1 + int(ops[2])%(sectors-off)
			m.do(ops[0], off*sectorSize, n*sectorSize, bytes.Repeat([]byte{ops[3]}, n*sectorSize))
		}
		m.check()
	})
}

// TestOverlayTakesSpace for what was written, and no more.
func TestOverlayTakesSpace(t *testing.T) {
	o, _ := overlaid(t, random(4<<20))
	takes := func(what string, want int64) {
		t.Helper()
		if got := blocks(t, o.top) * 512; got != want {
			t.Errorf("%s takes %d bytes, want %d", what, got, want)
		}
	}
	takes("nothing", 0)
	all := make([]byte, 4<<20)
	if err := errors.Join(o.ReadAtv([][]byte{all}, 0), o.WriteZeroes(1<<20, 1<<20, false), o.Discard(0, 1<<20)); err != nil {
		t.Fatal(err)
	}
	takes("reading and zeros", 0)
	if err := o.WriteAtv([][]byte{all[:3*blockSize]}, blockSize/2); err != nil {
		t.Fatal(err)
	}
	if err := o.top.Flush(); err != nil {
		t.Fatal(err)
	}
	takes("three blocks in four", 4*blockSize)
	if err := o.Discard(blockSize-sectorSize, 2*blockSize+sectorSize); err != nil {
		t.Fatal(err)
	}
	takes("two less", 2*blockSize)
}

func BenchmarkOverlay(b *testing.B) {
	const size = 64 << 20
	o, _ := overlaid(b, random(size))
	for _, n := range []int{4 << 10, 128 << 10} {
		bufs := [][]byte{random(n)}
		for name, do := range map[string]func(off int64) error{
			"read":  func(off int64) error { return o.ReadAtv(bufs, off) },
			"write": func(off int64) error { return o.WriteAtv(bufs, off) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for i := int64(0); b.Loop(); i++ {
					if err := do(i * int64(n) % size); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
