package kernelbuild

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/aptpkg/apttest"
)

// The distribution's source is taken from where its package installs it, or out
// of the package.
func TestDistribution(t *testing.T) {
	const name = sourcePackage + ".tar.xz"
	apt := apttest.New(t)
	apt.Add(apttest.OnHost, sourcePackage, "6.12.1-1", "", apttest.Deb(t, map[string]string{
		"usr/share/doc/" + sourcePackage + "/copyright": "long",
		"usr/src/" + name: "a tarball",
	}))
	b := New(nil, t.TempDir(), nil)
	work := t.TempDir()
	installed := filepath.Join(t.TempDir(), name)
	src, err := b.distribution(t.Context(), installed, work)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(src.tarball); err != nil || string(text) != "a tarball" || !strings.HasPrefix(src.tarball, work) {
		t.Errorf("%s: %q, %v", src.tarball, text, err)
	}
	if want := "Debian package " + sourcePackage + " 6.12.1-1"; src.about != want {
		t.Errorf("got %q, want %q", src.about, want)
	}
	write(t, installed, "another")
	if src, err = b.distribution(t.Context(), installed, work); err != nil || src.tarball != installed {
		t.Errorf("got %q, %v; want %q", src.tarball, err, installed)
	}
}

func TestDistributionHasNoSource(t *testing.T) {
	apttest.New(t)
	_, err := New(nil, t.TempDir(), nil).distribution(t.Context(), "/nonexistent", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("got %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = New(nil, t.TempDir(), nil).distribution(t.Context(), "/nonexistent", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("without apt: got %v", err)
	}
}
