package snapshot

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each file is what the manifest says, or the snapshot is not opened or not verified,
// and the error says which it was.
func TestDamage(t *testing.T) {
	file := func(name string, change func(path string) error) func(*testing.T, *Snapshot) {
		return func(t *testing.T, one *Snapshot) {
			if err := change(filepath.Join(one.Path(), name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(with func(path string) error) func(path string) error {
		return func(path string) error { return errors.Join(os.Rename(path, path+".old"), with(path)) }
	}
	tests := []struct {
		name   string
		change func(*testing.T, *Snapshot)
		memory bool // it is part of guest memory
		open   bool // fails when it is opened, not only when it is verified
		want   string
	}{
		{"bit of the state", func(t *testing.T, one *Snapshot) { spoil(t, one, State, 3) }, false, true, "section state.json: its checksum is"},
		{"bit of the pages", func(t *testing.T, one *Snapshot) { spoil(t, one, Pages, 0) }, true, true, "section pages: its checksum is"},
		{"bit of memory", func(t *testing.T, one *Snapshot) { spoil(t, one, Memory, 5*align) }, true, false, "section memory: its checksum is"},
		{"bit of a hole", func(t *testing.T, one *Snapshot) { spoil(t, one, Memory, 100*align) }, true, false, "section memory: its checksum is"},
		{"bit of a disk", func(t *testing.T, one *Snapshot) { spoil(t, one, "disk-root", diskBytes-1) }, false, false, "section disk-root: its checksum is"},
		{"short memory", file(Memory, func(path string) error { return os.Truncate(path, memoryBytes-1) }), true, true, "section memory: 1048575 bytes, and it had 1048576"},
		{"long memory", file(Memory, func(path string) error { return os.Truncate(path, memoryBytes+1) }), true, true, "section memory: 1048577 bytes, and it had 1048576"},
		{"short disk", file("disk-root", func(path string) error { return os.Truncate(path, 1) }), false, true, "section disk-root: 1 bytes, and it had 12388"},
		{"long state", file(State, func(path string) error { return os.Truncate(path, 1<<40) }), false, true, "section state.json: 1099511627776 bytes, and it had 17"},
		{"no disk", file("disk-root", os.Remove), false, true, "section disk-root: open "},
		{"link", file(State, replace(func(path string) error { return os.Symlink(path+".old", path) })), false, true, "too many levels of symbolic links"},
		{"named pipe", file(State, replace(func(path string) error { return unix.Mkfifo(path, 0o600) })), false, true, "is not a regular file"},
		{"directory", file(Memory, replace(func(path string) error { return os.Mkdir(path, 0o700) })), true, true, "is not a regular file"},
	}
	for _, tt := range tests {
		for _, below := range []bool{false, true} {
			if below && !tt.memory {
				continue // only memory is read from the snapshots below
			}
			t.Run(tt.name, func(t *testing.T) {
				s := OpenAt(t.TempDir())
				base := mustTake(t, s, "base", nil, pages{1: 1})
				spoiled := mustTake(t, s, "spoiled", base, pages{5: 5})
				one := spoiled
				if below {
					one = mustTake(t, s, "above", spoiled, nil)
				}
				tt.change(t, spoiled)
				f, err := one.Open()
				if err == nil {
					f.Close()
				}
				if (err != nil) != tt.open {
					t.Errorf("Open: %v", err)
				}
				verr := one.Verify(t.Context())
				for _, err := range []error{err, verr} {
					if err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "snapshot spoiled")) {
						t.Errorf("%v, want one of snapshot spoiled with: %s", err, tt.want)
					}
				}
				if verr == nil {
					t.Error("it was verified")
				}
				if strings.Contains(tt.want, "checksum") && !errors.Is(verr, ErrDamaged) {
					t.Errorf("%v is not %v", verr, ErrDamaged)
				}
			})
		}
	}
}

// rewrite changes the manifest of a snapshot, as Holt itself never would.
func rewrite(t *testing.T, one *Snapshot, change func(*Manifest)) {
	t.Helper()
	m := one.Manifest
	change(&m)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(one.Path(), manifestName), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestForgedManifests(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Manifest)
		find   string // error of Find
		open   string // error of Open
	}{
		{"another id", func(m *Manifest) { m.ID = "0123456789ab" }, "manifest: its id is 0123456789ab", ""},
		{"later version", func(m *Manifest) { m.Version = 9 }, "manifest: version 9, and this holt knows version 1", ""},
		{"other architecture", func(m *Manifest) { m.Arch = "mips" }, "", "it was made on mips, and this is "},
		{"lies on itself", func(m *Manifest) { m.Parent = m.ID }, "", "lies on itself"},
		{"lies on nothing", func(m *Manifest) { m.Parent = "0123456789ab" }, "", "no such snapshot: 0123456789ab"},
		{"huge state", func(m *Manifest) { m.Sections[2].Size = 1 << 50 }, "at most 268435456 are possible", ""},
		{"huge memory", func(m *Manifest) { m.Memory = 1 << 40 }, "section memory: 1048576 bytes, and it must have 1099511627776", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := OpenAt(t.TempDir())
			base := mustTake(t, s, "", nil, nil)
			one := mustTake(t, s, "", base, nil)
			rewrite(t, one, func(m *Manifest) {
				// The sections are in the order of their names: disk, memory, pages, state.
				m.Sections[2], m.Sections[3] = m.Sections[3], m.Sections[2]
				tt.change(m)
			})
			found, err := s.Find(one.Manifest.ID)
			if err == nil && tt.find == "" {
				_, err = found.Open()
			}
			if want := tt.find + tt.open; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}
