package aptpkg_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/aptpkg"
	"github.com/holtvm/holt/internal/aptpkg/apttest"
)

func newClient(t *testing.T, dir string) *aptpkg.Client {
	t.Helper()
	c, err := aptpkg.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDownload(t *testing.T) {
	tests := []struct {
		name          string
		listed        apttest.Listed
		first, second []string // what apt is asked the first time, and with a new client
	}{
		{
			name: "known to the host", listed: apttest.OnHost,
			first:  []string{"show system", "download system"},
			second: []string{"show system"},
		},
		{
			name: "known to the mirror only", listed: apttest.OnMirror,
			first:  []string{"show system", "update private", "show private", "download private"},
			second: []string{"show private"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			apt, dir := apttest.New(t), t.TempDir()
			deb := apttest.Deb(t, map[string]string{"x": "content"})
			apt.Add(tt.listed, "pkg", "1:2.3-4", "", deb)
			for _, want := range [][]string{tt.first, tt.second} {
				pkg, err := newClient(t, dir).Download(t.Context(), "pkg")
				if err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(pkg.Path); err != nil || string(got) != string(deb) {
					t.Errorf("the downloaded file differs, or %v", err)
				}
				if got := apt.Calls(); !slices.Equal(got, want) {
					t.Errorf("apt was asked %q, want %q", got, want)
				}
			}
		})
	}
}

func TestDownloadWithOldHostLists(t *testing.T) {
	apt := apttest.New(t)
	apt.Add(apttest.OnMirror, "pkg", "2", "", apttest.Deb(t, nil))
	apt.Add(apttest.Gone, "pkg", "1", "", []byte("dropped"))
	pkg, err := newClient(t, t.TempDir()).Download(t.Context(), "pkg")
	if err != nil || pkg.Version != "2" {
		t.Errorf("got %v, %v, want the version that the mirror has", pkg, err)
	}
}

func TestOneBadSource(t *testing.T) {
	apt := apttest.New(t)
	apt.BadSource()
	apt.Add(apttest.OnMirror, "pkg", "1", "", apttest.Deb(t, nil))
	client := newClient(t, t.TempDir())
	if _, err := client.Download(t.Context(), "pkg"); err != nil {
		t.Errorf("a package of another source: %v", err)
	}
	_, err := client.Download(t.Context(), "none")
	if !errors.Is(err, aptpkg.ErrNotFound) || !strings.Contains(err.Error(), "a source is bad") {
		t.Errorf("got %v, want ErrNotFound and what is wrong with the lists", err)
	}
}

func TestDamagedCacheIsNotUsed(t *testing.T) {
	apt, dir := apttest.New(t), t.TempDir()
	deb := apttest.Deb(t, nil)
	apt.Add(apttest.OnHost, "pkg", "1", "", deb)
	pkg, err := newClient(t, dir).Download(t.Context(), "pkg")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pkg.Path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if pkg, err = newClient(t, dir).Download(t.Context(), "pkg"); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(pkg.Path); string(got) != string(deb) {
		t.Error("the damaged file was used")
	}
}

func TestFind(t *testing.T) {
	apt := apttest.New(t)
	apt.Add(apttest.OnHost, "second", "1", "libc6 (>= 2.3), a:any | b, linux-image-6.1", nil)
	rec, err := newClient(t, t.TempDir()).Find(t.Context(), "first", "second")
	if err != nil || rec.Name != "second" {
		t.Fatalf("got %v, %v", rec, err)
	}
	if want := []string{"libc6", "a", "linux-image-6.1"}; !slices.Equal(rec.Depends, want) {
		t.Errorf("depends on %q, want %q", rec.Depends, want)
	}
	if _, err := newClient(t, t.TempDir()).Find(t.Context(), "none"); !errors.Is(err, aptpkg.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := newClient(t, t.TempDir()).Find(t.Context(), "-o=x"); err == nil || errors.Is(err, aptpkg.ErrNotFound) {
		t.Errorf("an option passed as a name: %v", err)
	}
}

func TestCancelledDownload(t *testing.T) {
	apttest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newClient(t, t.TempDir()).Download(ctx, "pkg"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestNoApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := aptpkg.New(t.TempDir(), nil); !errors.Is(err, aptpkg.ErrNoApt) {
		t.Errorf("got %v, want ErrNoApt", err)
	}
}

func TestUnpack(t *testing.T) {
	unpack := func(deb []byte, pick func(string) (string, bool)) (string, error) {
		dir := t.TempDir()
		path := filepath.Join(dir, "p.deb")
		if err := os.WriteFile(path, deb, 0o644); err != nil {
			t.Fatal(err)
		}
		dest := filepath.Join(dir, "dest")
		if err := os.Mkdir(dest, 0o755); err != nil {
			t.Fatal(err)
		}
		return dest, aptpkg.Package{Path: path}.Unpack(t.Context(), dest, pick)
	}
	all := func(name string) (string, bool) { return name, true }

	dest, err := unpack(apttest.Deb(t, map[string]string{"usr/a": "A", "usr/b": "B", "../../c": "C"}), func(name string) (string, bool) {
		return "x/" + filepath.Base(name), name != "usr/b"
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x/a": "A", "x/b": "", "x/c": "C"} {
		if got, _ := os.ReadFile(filepath.Join(dest, name)); string(got) != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	for name, deb := range map[string][]byte{
		"no archive": []byte("not a package"),
		"no data":    apttest.Archive(t, "other.tar", nil),
		"bad data":   apttest.Archive(t, "data.tar.zst", []byte("nonsense")),
		"a cut file": apttest.Deb(t, map[string]string{"a": "A"})[:180],
	} {
		if _, err := unpack(deb, all); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := unpack(apttest.Deb(t, map[string]string{"a": "A"}), func(string) (string, bool) { return "../out", true }); err == nil {
		t.Error("a file outside the destination was written")
	}
}
