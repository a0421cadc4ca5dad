package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/flock"
)

// debianPackages are what the tests use inside a Debian root. One root has them all:
// it takes a minute to make.
var debianPackages = []string{
	"python3", "gcc", "libc6-dev", "make", "tar", "attr", "coreutils",
	"curl", "iperf3", "nginx-light", "bind9-dnsutils", "iputils-ping", "netcat-openbsd", "fio",
	"systemd", "dbus", "nodejs", "docker.io", "iptables", "busybox-static",
}

// DebianRoot is a Debian root directory with debianPackages, made by mmdebstrap once
// and kept in the user's cache. Tests must not change it: use --overlay.
func DebianRoot(t testing.TB) string {
	t.Helper()
	root, err := MakeDebianRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// MakeDebianRoot makes DebianRoot unless it is there.
func MakeDebianRoot(ctx context.Context) (string, error) {
	return makeRoot(ctx, "minbase", "debian-", debianPackages)
}

// MakeSSHRoot makes a root directory with an SSH server, kept as DebianRoot is, unless
// it is there. Its packages are only unpacked, which takes seconds: it has no users and
// no settings.
func MakeSSHRoot(ctx context.Context) (string, error) {
	return makeRoot(ctx, "extract", "unpacked-", []string{"openssh-server", "dash", "coreutils", "libc-bin", "base-files"})
}

// makeRoot makes a root directory, a variant of mmdebstrap's, unless it is there.
func makeRoot(ctx context.Context, variant, prefix string, packages []string) (string, error) {
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
	root := filepath.Join(dir, prefix+strings.Join(packages, "+"))
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	temp := root + ".tmp"
	if err := os.RemoveAll(temp); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--variant="+variant, "--include="+strings.Join(packages, ","), "bookworm", temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap (is it installed? `make deps-test`): %w\n%s", err, out)
	}
	return root, os.Rename(temp, root)
}
