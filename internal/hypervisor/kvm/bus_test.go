package kvm

import (
	"bytes"
	"math"
	"testing"
)

// recorder is a handler that answers with its name and notes what it gets.
type recorder struct {
	name byte
	off  uint64
	got  []byte
}

func (r *recorder) Read(off uint64, p []byte) {
	r.off = off
	for i := range p {
		p[i] = r.name
	}
}

func (r *recorder) Write(off uint64, p []byte) { r.off, r.got = off, bytes.Clone(p) }

func TestBusFindsWindows(t *testing.T) {
	var b bus
	handlers := map[byte]*recorder{}
	for _, w := range []struct {
		name       byte
		base, size uint64
	}{
		{'c', 0x3000, 0x1000}, {'a', 0x1000, 0x1000}, {'z', math.MaxUint64 - 7, 8}, {'b', 0x2000, 0x800}, {'0', 0, 1},
	} {
		handlers[w.name] = &recorder{name: w.name}
		b.add(w.base, w.size, handlers[w.name])
	}
	for _, c := range []struct {
		addr uint64
		name byte // 0 for nothing there
		off  uint64
	}{
		{0, '0', 0}, {1, 0, 0}, {0xFFF, 0, 0}, {0x1000, 'a', 0}, {0x1FFF, 'a', 0xFFF}, {0x2000, 'b', 0}, {0x27FF, 'b', 0x7FF},
		{0x2800, 0, 0}, {0x2FFF, 0, 0}, {0x3FFE, 'c', 0xFFE}, {0x4000, 0, 0}, {math.MaxUint64 - 8, 0, 0},
		{math.MaxUint64 - 7, 'z', 0}, {math.MaxUint64, 'z', 7},
	} {
		p := []byte{1, 2}
		b.read(c.addr, p)
		want := c.name
		if want == 0 {
			want = 0xFF // a bus floats high
		}
		if p[0] != want || p[1] != want {
			t.Errorf("read at %#x: %x, want %#x", c.addr, p, want)
		}
		b.write(c.addr, []byte{byte(c.addr), 7})
		if h := handlers[c.name]; h != nil && (h.off != c.off || !bytes.Equal(h.got, []byte{byte(c.addr), 7})) {
			t.Errorf("write at %#x: %c got %x at %#x, want it at %#x", c.addr, c.name, h.got, h.off, c.off)
		}
		for _, h := range handlers {
			if h.name != c.name && h.got != nil {
				t.Errorf("write at %#x reached %c", c.addr, h.name)
			}
			h.got = nil
		}
	}
}

func TestEmptyBus(t *testing.T) {
	var b bus
	p := make([]byte, 8)
	b.read(math.MaxUint64, p)
	b.write(0, p)
	if !bytes.Equal(p, bytes.Repeat([]byte{0xFF}, 8)) {
		t.Errorf("reads %x", p)
	}
}
