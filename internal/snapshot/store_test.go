package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/paths"
)

func TestMakeFindRemove(t *testing.T) {
	dirs := paths.Dirs{Data: t.TempDir()}
	s := Open(dirs)
	one := mustTake(t, s, "web-1", nil, pages{3: 7})
	if want := filepath.Join(dirs.Data, "snapshots", one.Manifest.ID); one.Path() != want {
		t.Errorf("it is at %s, want %s", one.Path(), want)
	}
	for _, name := range []string{"web-1", one.Manifest.ID, one.Manifest.ID[:4]} {
		found, err := s.Find(name)
		if err != nil || found.Manifest.ID != one.Manifest.ID || found.Manifest.VM != "web" {
			t.Errorf("Find(%q): %+v, %v", name, found, err)
		}
	}
	for _, name := range []string{"", "web", one.Manifest.ID[:3], "000000000000"} {
		if found, err := s.Find(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Find(%q): %+v, %v, want %v", name, found, err, ErrNotFound)
		}
	}
	if err := one.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	// A page, the state, and the disk's pages that are no holes.
	if n := one.Manifest.Data(); n < align+int64(len(stateText)) || n > 20*align {
		t.Errorf("it has %d bytes of data", n)
	}
	if err := s.Remove(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), one); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v, want %v", err, ErrNotFound)
	}
	if left := inStore(t, s); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestListIsInOrder(t *testing.T) {
	s := OpenAt(t.TempDir())
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Fatalf("an empty store: %v, %v", all, err)
	}
	for i := range 4 {
		mustTake(t, s, fmt.Sprintf("n%d", i), nil, nil)
	}
	mustTake(t, s, "", nil, nil) // not all have names
	os.Mkdir(filepath.Join(s.dir, "0123456789ab"), 0o700)
	os.WriteFile(filepath.Join(s.dir, "other"), nil, 0o600)
	all, err := s.List()
	if err != nil || len(all) != 5 {
		t.Fatalf("%d snapshots, %v, want 5", len(all), err)
	}
	for i, one := range all[:4] {
		if one.Manifest.Name != fmt.Sprintf("n%d", i) {
			t.Errorf("snapshot %d is %q", i, one.Manifest.Name)
		}
	}
	if label := all[4].Manifest.Label(); label != all[4].Manifest.ID {
		t.Errorf("without a name it is called %q", label)
	}
}

func TestNamesAreUnique(t *testing.T) {
	s := OpenAt(t.TempDir())
	early, err := s.Begin(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer early.Abort()
	one := mustTake(t, s, "a", nil, nil)
	var taken *ExistsError
	if _, err := s.Begin(t.Context(), "a"); !errors.As(err, &taken) || *taken != (ExistsError{"a", one.Manifest.ID}) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := write(early, manifest(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := early.Commit(t.Context(), manifest()); !errors.As(err, &taken) {
		t.Errorf("a name that was taken meanwhile: %v", err)
	}
	for _, name := range []string{"a/b", ".a", strings.Repeat("a", 64), "abcdefabcdef"} {
		if _, err := s.Begin(t.Context(), name); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
}

// A draft is finished only if what it says of itself is true.
func TestCommitRefuses(t *testing.T) {
	s := OpenAt(t.TempDir())
	base := mustTake(t, s, "base", nil, nil)
	tests := []struct {
		name   string
		change func(d *Draft, m *Manifest) error
		want   string
	}{
		{"no state", func(d *Draft, _ *Manifest) error { return os.Remove(filepath.Join(d.Path, State)) }, "section state.json: is missing"},
		{"unknown section", func(d *Draft, _ *Manifest) error { return put(d, "x", 1, nil) }, `section "x": is there twice, or this snapshot has none`},
		{"unknown disk", func(d *Draft, _ *Manifest) error { return put(d, DiskSection("9"), 1, nil) }, `section "disk-9": is there`},
		{"pages of a whole one", func(d *Draft, _ *Manifest) error { return put(d, Pages, 0, nil) }, `section "pages": is there`},
		{"no pages", func(_ *Draft, m *Manifest) error { m.Parent = base.Manifest.ID; return nil }, "section pages: is missing"},
		{"bad pages", func(d *Draft, m *Manifest) error {
			m.Parent = base.Manifest.ID
			return put(d, Pages, 8, map[int64][]byte{0: {0, 0, 0, 0, 1, 1, 0, 0}})
		}, "section pages: page runs: run 0 ends at page 257 of 256"},
		{"parent of another size", func(d *Draft, m *Manifest) error {
			m.Parent, m.Memory = base.Manifest.ID, 2<<20
			return errors.Join(put(d, Pages, 0, nil), os.Truncate(filepath.Join(d.Path, Memory), 2<<20))
		}, "snapshot base below it 1048576"},
		{"no parent", func(d *Draft, m *Manifest) error { m.Parent = "ffffffffffff"; return put(d, Pages, 0, nil) }, "no such snapshot: ffffffffffff"},
		{"bad manifest", func(_ *Draft, m *Manifest) error { m.VCPUs = 0; return nil }, "manifest: 0 vCPUs"},
		{"too large", func(_ *Draft, m *Manifest) error {
			m.Config = []byte(`"` + strings.Repeat("x", maxManifest) + `"`)
			return nil
		}, "manifest: more than 1048576 bytes"},
		{"symbolic link", func(d *Draft, _ *Manifest) error {
			path := filepath.Join(d.Path, State)
			return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path))
		}, "section state.json: open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := s.Begin(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Abort()
			m := manifest()
			if err := errors.Join(write(d, m, nil), tt.change(d, &m)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Commit(t.Context(), m); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	if left := inStore(t, s); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// A draft that somebody works on is not swept, however old it is; one that was given
// up by nobody who lives is.
func TestSweep(t *testing.T) {
	s := OpenAt(t.TempDir())
	d, err := s.Begin(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(d.Path, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if removed, err := s.Sweep(t.Context()); err != nil || removed != nil {
		t.Fatalf("swept %v, %v, beside a living draft", removed, err)
	}
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("a draft is listed: %v, %v", all, err)
	}
	d.lock.Close() // as when its maker dies
	os.Mkdir(filepath.Join(s.dir, ".tmp-no-lock"), 0o700)
	os.WriteFile(filepath.Join(s.dir, ".tmp-file"), nil, 0o600)
	if removed, err := s.Sweep(t.Context()); err != nil || len(removed) != 3 {
		t.Errorf("swept %v, %v, want 3", removed, err)
	}
	if left := inStore(t, s); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestAbort(t *testing.T) {
	s := OpenAt(t.TempDir())
	d, err := s.Begin(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := write(d, manifest(), pages{1: 1}); err != nil {
		t.Fatal(err)
	}
	d.Abort()
	if left := inStore(t, s); left != nil {
		t.Errorf("left behind: %v", left)
	}
	one := mustTake(t, s, "a", nil, nil) // with an Abort after its Commit
	if found, err := s.Find("a"); err != nil || found.Manifest.ID != one.Manifest.ID {
		t.Errorf("%v, %v", found, err)
	}
}
