package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/flock"
)

// debianPackages are what the tests use inside a Debian root.
var debianPackages = []string{
	"python3", "gcc", "libc6-dev", "make", "tar", "attr", "coreutils",
	"curl", "iperf3", "nginx-light", "bind9-dnsutils", "iputils-ping", "netcat-openbsd", "fio",
}

// DebianRoot is a Debian root directory with debianPackages and more, made by
// mmdebstrap once and kept in the user's cache. Tests must not change it: use
// --overlay.
func DebianRoot(t testing.TB, more ...string) string {
	t.Helper()
	root, err := MakeDebianRoot(t.Context(), more...)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// MakeDebianRoot makes DebianRoot unless it is there.
func MakeDebianRoot(ctx context.Context, more ...string) (string, error) {
	packages := slices.Concat(debianPackages, more)
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "holt-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	lock, err := flock.Acquire(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	root := filepath.Join(dir, "debian-"+strings.Join(packages, "+"))
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	temp := root + ".tmp"
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), "bookworm", temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap (is it installed? `make deps-test`): %w\n%s", err, out)
	}
	return root, os.Rename(temp, root)
}
