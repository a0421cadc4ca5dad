package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func FuzzImport(f *testing.F) {
	// The fuzzer takes long for long inputs.
	small := newForged().manifest(func(m *Manifest) {
		*m = Manifest{Version: Version, ID: m.ID, Arch: m.Arch, Memory: memoryBytes, VCPUs: 1}
		m.Needs.Disks = []Disk{{Name: "a", Path: "/a", Size: 4, Saved: true}}
	})
	b := small.section(State, 5, []byte("state")).section(Memory, memoryBytes, nil).section(DiskSection("a"), 4, []byte("disk")).end()
	f.Add(b)
	f.Add(packed(b))
	s := OpenAt(f.TempDir())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, resum(b)} {
			got, err := s.Import(t.Context(), bytes.NewReader(b), "")
			if err != nil {
				if left := inStore(t, s); left != nil {
					t.Fatalf("%v, and left behind: %v", err, left)
				}
				continue
			}
			if err := got.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			files, err := got.Open()
			if err != nil {
				t.Fatal(err)
			}
			files.Close()
			if err := got.Export(t.Context(), io.Discard, false); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(t.Context(), got); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// resum puts the right checksums into an archive as far as it can be read, so that what
// is behind them is fuzzed, too.
func resum(b []byte) []byte {
	f := newForged()
	a := &archiveReader{r: bytes.NewReader(b[min(len(b), headerBytes):])}
	for {
		name, size, err := a.next()
		if errors.Is(err, io.EOF) || err != nil && strings.Contains(err.Error(), "other sections") {
			return f.end()
		}
		if err != nil {
			return f.b.Bytes()
		}
		var bodyErr error
		_ = f.w.section(name, size, func() error {
			bodyErr = a.body(context.Background(), size, func(off int64, b []byte) error {
				head := binary.LittleEndian.AppendUint64(nil, uint64(off))
				return errors.Join(f.w.write(binary.LittleEndian.AppendUint32(head, uint32(len(b)))), f.w.write(b))
			})
			return nil
		})
		if bodyErr != nil && !strings.Contains(fmt.Sprint(bodyErr), "checksum") {
			return f.b.Bytes()
		}
	}
}
