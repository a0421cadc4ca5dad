package snapshot

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// benchMemory is the memory of the benchmarks' guests, in bytes. An eighth of it is used.
const benchMemory = 1 << 30

// benchDraft is a draft whose memory has data in pieces of 64 KiB, half of it text and
// half of it random.
func benchDraft(b *testing.B, s *Store) (*Draft, Manifest) {
	b.Helper()
	d, err := s.Begin(b.Context(), "")
	if err != nil {
		b.Fatal(err)
	}
	m := manifest()
	if err := write(d, m, nil); err != nil {
		b.Fatal(err)
	}
	m.Memory = benchMemory
	f, err := os.OpenFile(d.Path+"/"+Memory, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{})
	data := make([]byte, 64<<10)
	for off := int64(0); off < benchMemory; off += 8 * int64(len(data)) {
		random.Read(data)
		copy(data, bytes.Repeat([]byte("some text that is the same "), 1000))
		if _, err := f.WriteAt(data, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Truncate(benchMemory); err != nil {
		b.Fatal(err)
	}
	return d, m
}

func BenchmarkCommit(b *testing.B) {
	s := OpenAt(b.TempDir())
	b.SetBytes(benchMemory / 8)
	for b.Loop() {
		b.StopTimer()
		d, m := benchDraft(b, s)
		b.StartTimer()
		one, err := d.Commit(b.Context(), m)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Remove(b.Context(), one); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkOpen(b *testing.B) {
	one := benchSnapshot(b)
	for b.Loop() {
		f, err := one.Open()
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func benchSnapshot(b *testing.B) *Snapshot {
	b.Helper()
	d, m := benchDraft(b, OpenAt(b.TempDir()))
	one, err := d.Commit(b.Context(), m)
	if err != nil {
		b.Fatal(err)
	}
	return one
}

func BenchmarkVerify(b *testing.B) {
	one := benchSnapshot(b)
	b.SetBytes(benchMemory / 8)
	for b.Loop() {
		if err := one.Verify(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkArchive(b *testing.B) {
	one := benchSnapshot(b)
	for _, compress := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "compressed"}[compress]
		b.Run("export "+name, func(b *testing.B) {
			b.SetBytes(benchMemory / 8)
			for b.Loop() {
				if err := one.Export(b.Context(), io.Discard, compress); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("import "+name, func(b *testing.B) {
			archive := archive(b, one, compress)
			s := OpenAt(b.TempDir())
			b.SetBytes(benchMemory / 8)
			b.ReportMetric(float64(len(archive)), "archive-bytes")
			for b.Loop() {
				one, err := s.Import(b.Context(), bytes.NewReader(archive), "")
				if err == nil {
					err = s.Remove(b.Context(), one)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
