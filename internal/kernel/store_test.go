package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// add imports an empty kernel that was created at the given hour.
func add(t *testing.T, s *Store, name string, hour int) {
	t.Helper()
	k, err := s.Import(t.Context(), ImportOptions{Image: writeFile(t, filepath.Join(t.TempDir(), "k"), bzImage("1.0", 1)), Name: name})
	if err != nil {
		t.Fatal(err)
	}
	k.Created = time.Date(2025, 1, 1, hour, 0, 0, 0, time.UTC)
	if err := k.write(k.Dir); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	s := newStore(t)
	wantDefault := func(want string, wantErr error) {
		t.Helper()
		if k, err := s.Default(); k.Name != want || !errors.Is(err, wantErr) {
			t.Errorf("default %q, %v, want %q, %v", k.Name, err, want, wantErr)
		}
	}
	wantDefault("", ErrNoKernel)
	add(t, s, "old", 1)
	add(t, s, "new", 3)
	add(t, s, "middle", 2)
	wantDefault("new", nil)
	if err := s.SetDefault(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	wantDefault("old", nil)
	kernels, err := s.List()
	if err != nil || len(kernels) != 3 || kernels[0].Name != "new" || kernels[2].Name != "old" {
		t.Errorf("list: %v, %v", kernels, err)
	}
	if err := s.Remove(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	wantDefault("new", nil) // the chosen one is gone
	for _, name := range []string{"old", "../x", "", ".lock"} {
		if _, err := s.Get(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%q): %v", name, err)
		}
		if err := s.Remove(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Remove(%q): %v", name, err)
		}
		if err := s.SetDefault(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("SetDefault(%q): %v", name, err)
		}
	}
	unfinished(t, s.dir)
}

func TestListWithBrokenKernel(t *testing.T) {
	s := newStore(t)
	add(t, s, "good", 1)
	writeFile(t, filepath.Join(s.dir, "broken", manifestFile), []byte("{"))
	kernels, err := s.List()
	if len(kernels) != 1 || kernels[0].Name != "good" || err == nil {
		t.Errorf("list: %v, %v, want the good one and an error", kernels, err)
	}
	if k, err := s.Default(); err != nil || k.Name != "good" {
		t.Errorf("default: %v, %v", k.Name, err)
	}
	if err := s.Remove(t.Context(), "broken"); err != nil {
		t.Errorf("a broken kernel cannot be removed: %v", err)
	}
}

func TestWritersClearInterruptedWork(t *testing.T) {
	s := newStore(t)
	writeFile(t, filepath.Join(s.dir, ".tmp-123", elfFile), nil)
	add(t, s, "k", 1)
	unfinished(t, s.dir)
}

func TestParseManifestRefuses(t *testing.T) {
	const rest = `"image":"vmlinux","image_format":"elf"`
	for name, tt := range map[string]struct {
		json string
		ok   bool
	}{
		"good":             {`{"schema":1,"name":"k",` + rest + `}`, true},
		"not JSON":         {`kernel`, false},
		"another schema":   {`{"schema":2,"name":"k","new":1,` + rest + `}`, false},
		"no schema":        {`{"name":"k",` + rest + `}`, false},
		"unknown key":      {`{"schema":1,"name":"k","new":1,` + rest + `}`, false},
		"image elsewhere":  {`{"schema":1,"name":"k","image":"../vmlinux","image_format":"elf"}`, false},
		"unknown format":   {`{"schema":1,"name":"k","image":"vmlinux","image_format":"zip"}`, false},
		"module elsewhere": {`{"schema":1,"name":"k",` + rest + `,"modules":[{"file":"../x","name":"x"}]}`, false},
	} {
		if _, err := parseManifest([]byte(tt.json)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoldenManifest(t *testing.T) {
	b, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.write(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, manifestFile)); err != nil || string(got) != string(b) {
		t.Errorf("the manifest is written as\n%s%v", got, err)
	}
}
