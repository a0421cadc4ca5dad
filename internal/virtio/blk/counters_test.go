package blk_test

import (
	"testing"

	"github.com/holtvm/holt/internal/virtio/blk"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestCounters: what was done is counted once, and what was refused is not.
func TestCounters(t *testing.T) {
	const sectors = 16
	dev := newDevice(t, openImage(t, imageFile(t, pattern(sectors)), false), blk.Options{})
	q := virtiotest.Start(t, dev, virtiotest.Options{Features: all}).Queue(0)
	for _, c := range []struct {
		request []byte
		room    int
		status  byte
	}{
		{header(typeIn, 0), 3 * 512, ok},
		{header(typeIn, sectors), 512, ioErr}, // behind the end
		{join(header(typeOut, 1), make([]byte, 2*512)), 0, ok},
		{join(header(typeOut, 1), make([]byte, 7)), 0, ioErr}, // no whole sector
		{header(typeFlush, 0), 0, ok},
		{join(header(typeDiscard, 0), segment(8, 8, 0)), 0, ok},
		{join(header(typeWriteZeroes, 0), segment(8, 8, 0)), 0, ok},
		{header(typeGetID, 0), 20, ok},
		{header(99, 0), 0, unsupported},
	} {
		if _, status, _ := send(t, q, c.request, c.room); status != c.status {
			t.Errorf("request %x: status %d, want %d", c.request[:16], status, c.status)
		}
	}
	want := blk.Counters{Reads: 1, ReadBytes: 3 * 512, Writes: 1, WrittenBytes: 2 * 512, Flushes: 1, Discards: 2}
	if got := dev.Counters(); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
