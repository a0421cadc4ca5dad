package diskimage

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cut cuts p into buffers of 0 to most bytes.
func cut(p []byte, most int) (bufs [][]byte) {
	for len(p) > 0 {
		n := min(len(p), rand.IntN(most+1))
		bufs, p = append(bufs, p[:n]), p[n:]
	}
	return bufs
}

func TestVectors(t *testing.T) {
	const size = 1 << 20
	f := opened(t, size)
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(rand.Uint32())
	}
	for _, most := range []int{size, 100000, 4096, 1000} { // up to four times maxVectors
		if err := f.WriteAtv(cut(want, most), 0); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		if err := f.ReadAtv(cut(got, most), 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("buffers of up to %d: read %v, the same %v", most, err, bytes.Equal(got, want))
		}
		off := rand.Int64N(size / 2)
		got = make([]byte, size/2)
		if done, err := f.TryRead(cut(got, most), off); done && (err != nil || !bytes.Equal(got, want[off:][:size/2])) {
			t.Errorf("buffers of up to %d: what is cached is read otherwise, or %v", most, err)
		}
	}
	if err := f.ReadAtv(nil, 0); err != nil {
		t.Errorf("nothing: %v", err)
	}
	if err := f.WriteAtv([][]byte{{}, {}}, 512); err != nil {
		t.Errorf("nothing in two pieces: %v", err)
	}
}

// TestShrunkFile: a file that somebody made smaller is an error and no endless loop.
func TestShrunkFile(t *testing.T) {
	f := opened(t, 8192)
	if err := os.Truncate(f.path, 4096+100); err != nil {
		t.Fatal(err)
	}
	err := f.ReadAtv([][]byte{make([]byte, 8192)}, 0)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), f.path) {
		t.Errorf("read: %v", err)
	}
	if done, err := f.TryRead([][]byte{make([]byte, 8192)}, 0); done && err == nil {
		t.Error("read from the cache")
	}
}

// TestFullDisk: the error of the host's file system comes through with the name.
func TestFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	full := &File{f: f, fd: int(f.Fd()), path: "the-disk"}
	if err := full.WriteAtv([][]byte{make([]byte, 512)}, 0); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "disk the-disk: write") {
		t.Errorf("write: %v", err)
	}
}

func TestSpace(t *testing.T) {
	const size, hole = 1 << 20, 256 << 10
	for _, c := range []struct {
		name   string
		do     func(f *File) error
		zero   bool // the range reads as zero
		shrink bool // it takes no space, where the file system has holes
	}{
		{"discard", func(f *File) error { return f.Discard(hole, hole) }, false, true},
		{"unmap", func(f *File) error { return f.WriteZeroes(hole, hole, true) }, true, true},
		{"zero", func(f *File) error { return f.WriteZeroes(hole, hole, false) }, true, false},
		{"plain zeros", func(f *File) error { return f.plainZeroes(hole, hole) }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := opened(t, size)
			full := bytes.Repeat([]byte{0xa5}, size)
			if err := f.WriteAtv([][]byte{full}, 0); err != nil {
				t.Fatal(err)
			}
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
			before := blocks(t, f)
			if err := c.do(f); err != nil {
				t.Fatal(err)
			}
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.path)
			if err != nil || len(got) != size {
				t.Fatalf("%d bytes afterwards, %v", len(got), err)
			}
			if c.zero {
				want := bytes.Clone(full)
				clear(want[hole : 2*hole])
				if !bytes.Equal(got, want) {
					t.Error("not just that range became zero")
				}
			}
			if !bytes.Equal(got[2*hole:], full[2*hole:]) || got[0] != 0xa5 {
				t.Error("bytes around changed")
			}
			after := blocks(t, f)
			if c.shrink && after > before-hole/512 {
				t.Errorf("%d blocks before, %d after", before, after)
			}
			if !c.shrink && c.zero && after < before {
				t.Errorf("%d blocks before, %d after: space was given up", before, after)
			}
		})
	}
	t.Run("unaligned", func(t *testing.T) {
		f := opened(t, 4096)
		_ = f.WriteAtv([][]byte{bytes.Repeat([]byte{1}, 4096)}, 0)
		if err := f.WriteZeroes(512, 1024, true); err != nil {
			t.Fatal(err)
		}
		got, _ := os.ReadFile(f.path)
		if bytes.Count(got, []byte{0}) != 1024 || got[511] != 1 || got[512] != 0 || got[1536] != 1 {
			t.Error("not just those two sectors became zero")
		}
	})
}

func blocks(t *testing.T, f *File) int64 {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

// TestTries: what is expected to wait is not tried.
func TestTries(t *testing.T) {
	f := opened(t, 8192)
	b := [][]byte{make([]byte, 4096)}
	tries := func(what string, want bool) {
		t.Helper()
		f.tellsCached = false
		for name, try := range map[string]func([][]byte, int64) (bool, error){"read": f.TryRead, "write": f.TryWrite} {
			if done, err := try(b, 0); done != want || err != nil {
				t.Errorf("%s: %s: %v, %v", what, name, done, err)
			}
		}
	}
	tries("at first", true)
	f.reads.time(time.Now().Add(-time.Second), tooLong)
	f.writes.time(time.Now().Add(-time.Second), tooLong)
	tries("after one that took a second", false)
	if err := errors.Join(f.ReadAtv(b, 0), f.WriteAtv(b, 0)); err != nil {
		t.Fatal(err)
	}
	tries("after one that took no time", true)
	f.flushing.Add(1)
	if done, _ := f.TryWrite(b, 0); done {
		t.Error("written during a flush")
	}
	f.flushing.Add(-1)
	if err := errors.Join(f.Flush(), f.Discard(0, 4096)); err != nil {
		t.Fatal(err)
	}
	tries("after a flush", true)

	flushes := func(what string, want bool) {
		t.Helper()
		if done, err := f.TryFlush(); done != want || err != nil {
			t.Errorf("%s: flush: %v, %v", what, done, err)
		}
	}
	f.flushes.time(time.Now().Add(-time.Millisecond), tooLongToFlush)
	flushes("after one that took a millisecond", false)
	f.flushes.time(time.Now().Add(time.Hour), tooLongToFlush)
	f.flushing.Add(1)
	flushes("during another one", false)
	f.flushing.Add(-1)
	flushes("after one that took no time", true)
	if g := opened(t, 8192); g.flushes.quick() {
		t.Error("the first flush is expected to take no time")
	}
}
