package snapshot

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
)

const (
	memoryBytes = 1 << 20
	diskBytes   = 3*align + 100
	stateText   = `{"some": "state"}`
)

// pages are the pages of memory that a snapshot has, each with the byte that fills it.
type pages map[uint32]byte

// manifest is what a test's snapshots say of themselves.
func manifest() Manifest {
	return Manifest{
		Created: time.Now().UTC(),
		Holt:    "1.2.3",
		VM:      "web",
		Memory:  memoryBytes,
		VCPUs:   2,
		Program: true,
		Config:  []byte(`{"image":"x"}`),
		Needs: Needs{
			Dirs: []Dir{{Host: "/srv", Guest: "/", ReadOnly: true, Dev: 1, Ino: 2}},
			Disks: []Disk{
				{Name: "root", Path: "/disk", Size: diskBytes, Saved: true},
				{Name: "0", Path: "/other", Size: 5, ReadOnly: true},
			},
			Ports: []string{"80:80"},
		},
	}
}

// take makes a snapshot. Without a parent it is whole.
func take(ctx context.Context, s *Store, name, parent string, have pages) (*Snapshot, error) {
	d, err := s.Begin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer d.Abort()
	m := manifest()
	m.Parent = parent
	if err := write(d, m, have); err != nil {
		return nil, err
	}
	return d.Commit(ctx, m)
}

// write writes all sections of a draft.
func write(d *Draft, m Manifest, have pages) error {
	var runs []guestmem.Run
	memory := map[int64][]byte{}
	for _, page := range slices.Sorted(maps.Keys(have)) {
		memory[int64(page)*align] = bytes.Repeat([]byte{have[page]}, align)
		runs = append(runs, guestmem.Run{Page: page, Count: 1})
	}
	err := errors.Join(
		put(d, State, int64(len(stateText)), map[int64][]byte{0: []byte(stateText)}),
		put(d, Memory, int64(m.Memory), memory),
		put(d, DiskSection("root"), diskBytes, map[int64][]byte{align: []byte("disk"), diskBytes - 3: []byte("end")}),
	)
	if m.Parent != "" {
		list := guestmem.EncodeRuns(runs)
		err = errors.Join(err, put(d, Pages, int64(len(list)), map[int64][]byte{0: list}))
	}
	return err
}

// put writes a section of so many bytes: parts of it, and holes.
func put(d *Draft, section string, size int64, parts map[int64][]byte) error {
	f, err := d.Create(section)
	if err != nil {
		return err
	}
	defer f.Close()
	for off, b := range parts {
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
	}
	return f.Truncate(size)
}

func mustTake(t testing.TB, s *Store, name string, parent *Snapshot, have pages) *Snapshot {
	t.Helper()
	id := ""
	if parent != nil {
		id = parent.Manifest.ID
	}
	one, err := take(t.Context(), s, name, id, have)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// memoryOf is guest memory as a machine that goes on from the snapshot finds it.
func memoryOf(t *testing.T, one *Snapshot) []byte {
	t.Helper()
	f, err := one.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := guestmem.MapImage([]guestmem.Region{{Size: f.Memory.Size}}, f.Memory)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.Slice(0, f.Memory.Size)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

// filled is guest memory with such pages.
func filled(all ...pages) []byte {
	b := make([]byte, memoryBytes)
	for _, have := range all {
		for page, fill := range have {
			copy(b[page*align:], bytes.Repeat([]byte{fill}, align))
		}
	}
	return b
}

// inStore is all that is in the store's directory but for its lock.
func inStore(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != ".names.lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// blocks is how much of a file's bytes take space.
func blocks(t *testing.T, one *Snapshot, section string) int64 {
	t.Helper()
	f, size, err := openFile(one.Path(), section)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var n int64
	if err := eachData(f, size, func(_, data int64) error { n += data; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// spoil changes a byte of a snapshot's file.
func spoil(t *testing.T, one *Snapshot, file string, off int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(one.Path(), file), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}
