package kvmapi

import (
	"bytes"
	"testing"
)

// Whatever the file says, the result is bounded.
func FuzzReadStats(f *testing.F) {
	f.Add(statsFile([]uint64{7, 8}, counter{size: 1, name: "exits"}, counter{flags: 1, size: 1, offset: 8, name: "x"}))
	f.Fuzz(func(t *testing.T, file []byte) {
		stats, err := readStats(bytes.NewReader(file))
		if err == nil && len(stats) > len(file)/statsDescSize {
			t.Errorf("%d counters from %d bytes", len(stats), len(file))
		}
	})
}

// No content of the run structure makes its accessors leave it.
func FuzzRunStructure(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &VCPU{run: make([]byte, 4096)}
		copy(c.run, b)
		io := c.IO()
		if n := uint64(io.Size) * uint64(io.Count); len(io.Data) != 0 && uint64(len(io.Data)) != n {
			t.Errorf("%d bytes of %d elements of %d", len(io.Data), io.Count, io.Size)
		}
		if n := len(c.MMIO().Data); n > 8 {
			t.Errorf("%d bytes of mmio", n)
		}
		if _, data := c.InternalError(); len(data) > 16 {
			t.Errorf("%d numbers of an internal error", len(data))
		}
		if n := len(c.FailedInstruction()); n > 15 {
			t.Errorf("an instruction of %d bytes", n)
		}
		_ = c.ExitReason().String()
		c.FailEntryReason()
	})
}
