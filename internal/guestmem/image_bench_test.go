package guestmem

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// benchFile is an empty file of the kind that name says.
func benchFile(b *testing.B, kind string) *os.File {
	b.Helper()
	if kind == "memfd" {
		fd, err := unix.MemfdCreate("guestmem-bench", unix.MFD_CLOEXEC)
		if err != nil {
			b.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "memfd")
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "memory"))
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// touchPart writes to the first quarter of each 4 MiB.
func touchPart(b *testing.B, m *Memory) {
	b.Helper()
	all, err := m.Slice(0, m.Size())
	if err != nil {
		b.Fatal(err)
	}
	for at := 0; at < len(all); at += PageSize {
		if at>>20%4 == 0 {
			all[at+at/PageSize%PageSize] = 1
		}
	}
}

// BenchmarkWriteImage writes 256 MiB of memory of which 64 MiB hold data.
func BenchmarkWriteImage(b *testing.B) {
	for _, kind := range []string{"memfd", "file"} {
		b.Run(kind, func(b *testing.B) {
			m, err := Map([]Region{{Size: 256 << 20}})
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			touchPart(b, m)
			b.SetBytes(64 << 20)
			for b.Loop() {
				b.StopTimer()
				f := benchFile(b, kind)
				b.StartTimer()
				if _, err := m.WriteImage(b.Context(), f); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				f.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkMapImage maps an image of a first layer and one above it.
func BenchmarkMapImage(b *testing.B) {
	for _, c := range []struct {
		size uint64
		runs int
	}{{256 << 20, 0}, {4 << 30, 0}, {4 << 30, 1000}, {4 << 30, 10000}} {
		b.Run(fmt.Sprintf("%dMiB/%d", c.size>>20, c.runs), func(b *testing.B) {
			img := &Image{Size: c.size, Layers: []Layer{{File: benchFile(b, "memfd")}, {File: benchFile(b, "memfd"), Runs: []Run{}}}}
			for i := range img.Layers {
				defer img.Layers[i].File.Close()
				if err := img.Layers[i].File.Truncate(int64(c.size)); err != nil {
					b.Fatal(err)
				}
			}
			for i := range c.runs {
				img.Layers[1].Runs = append(img.Layers[1].Runs, Run{uint32(i * 10), 1})
			}
			for b.Loop() {
				m, err := MapImage([]Region{{Size: c.size}}, img)
				if err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

// BenchmarkTouched looks up the pages of a machine that has used a small part of its memory.
func BenchmarkTouched(b *testing.B) {
	m, err := Map([]Region{{Size: 4 << 30}})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	all, _ := m.Slice(0, 4<<30)
	for at := 0; at < 128<<20; at += PageSize {
		all[at] = 1
	}
	for b.Loop() {
		if _, err := m.Touched(); err != nil {
			b.Fatal(err)
		}
	}
}
