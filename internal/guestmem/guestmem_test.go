package guestmem

import (
	"errors"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

const page = 4096

func memfd(t *testing.T, size int64) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("guestmem-test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSliceStaysInsideMemory(t *testing.T) {
	m, err := Map([]Region{{GuestAddr: 4 * page, Size: page}, {GuestAddr: 0, Size: 2 * page}, {GuestAddr: 2 * page, Size: page}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, c := range []struct {
		addr, n uint64
		slice   bool // inside one region
		parts   int  // number of regions touched, 0 for an error
	}{
		{0, 1, true, 1},
		{0, 2 * page, true, 1},
		{0, 2*page + 1, false, 2},
		{0, 3 * page, false, 2},
		{0, 3*page + 1, false, 0},
		{3 * page, 1, false, 0},
		{3*page - 1, 2, false, 0},
		{4 * page, page, true, 1},
		{5*page - 1, 1, true, 1},
		{5*page - 1, 2, false, 0},
		{5 * page, 1, false, 0},
		{math.MaxUint64, 1, false, 0},
		{math.MaxUint64, math.MaxUint64, false, 0},
		{1, math.MaxUint64, false, 0},
		{page, math.MaxUint64 - page + 1, false, 0},
		{4 * page, 1 << 63, false, 0},
	} {
		b, err := m.Slice(c.addr, c.n)
		if c.slice != (err == nil) || (err == nil && uint64(len(b)) != c.n) {
			t.Errorf("Slice(%#x, %d) = %d bytes, %v", c.addr, c.n, len(b), err)
		}
		if err != nil && !errors.Is(err, ErrOutOfRange) {
			t.Errorf("Slice(%#x, %d): %v is not ErrOutOfRange", c.addr, c.n, err)
		}
		keep := [][]byte{{1}}
		got, err := m.AppendSlices(keep, c.addr, c.n)
		if (err == nil) != (c.parts > 0) || len(got) != 1+c.parts {
			t.Errorf("AppendSlices(%#x, %d) = %d parts, %v; want %d", c.addr, c.n, len(got)-1, err, c.parts)
		}
	}
}

func TestMapRefusesBadRegions(t *testing.T) {
	small := memfd(t, page)
	for name, rs := range map[string][]Region{
		"empty":            {{GuestAddr: 0}},
		"overlap":          {{GuestAddr: 0, Size: 2 * page}, {GuestAddr: page, Size: page}},
		"wraps":            {{GuestAddr: math.MaxUint64 - page + 2, Size: page}},
		"too large":        {{GuestAddr: 0, Size: 1 << 63}},
		"past end of file": {{GuestAddr: 0, Size: 2 * page, File: small}},
		"offset past file": {{GuestAddr: 0, Size: page, File: small, Offset: 2 * page}},
		"negative offset":  {{GuestAddr: 0, Size: page, File: small, Offset: -page}},
	} {
		if m, err := Map(rs); err == nil {
			m.Close()
			t.Errorf("%s: Map accepted it", name)
		}
	}
}

func TestFileBackedMemoryIsShared(t *testing.T) {
	f := memfd(t, 2*page)
	r := []Region{{GuestAddr: 1 << 32, Size: page, File: f, Offset: page}}
	a, err := Map(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Map(r)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sa, _ := a.Slice(1<<32+10, 5)
	copy(sa, "otter")
	sb, _ := b.Slice(1<<32+10, 5)
	if string(sb) != "otter" {
		t.Errorf("second mapping sees %q", sb)
	}
	if a.Size() != page {
		t.Errorf("Size = %d, want %d", a.Size(), page)
	}
}
