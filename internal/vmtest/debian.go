package vmtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/flock"
)

// debianPackages are what the tests use inside a Debian root.
var debianPackages = []string{"python3-minimal", "gcc", "libc6-dev", "make", "tar", "attr", "coreutils"}

// DebianRoot is a Debian root directory with debianPackages, made by mmdebstrap
// once and kept in the user's cache. Tests must not change it: use --overlay.
func DebianRoot(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "holt-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	lock, err := flock.Acquire(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	root := filepath.Join(dir, "debian-"+strings.Join(debianPackages, "+"))
	if _, err := os.Stat(root); err == nil {
		return root
	}
	temp := root + ".tmp"
	if err := os.RemoveAll(temp); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=minbase", "--include="+strings.Join(debianPackages, ","), "bookworm", temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap (is it installed? `make deps-test`): %v\n%s", err, out)
	}
	if err := os.Rename(temp, root); err != nil {
		t.Fatal(err)
	}
	return root
}
