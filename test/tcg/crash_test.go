//go:build tcg

package tcg

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestKillAnyProcess: kill -9 of any of our processes leaves no QEMU, no socket
// and no mount, and the next command removes the rest.
func TestKillAnyProcess(t *testing.T) {
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	mounts := func() int {
		b, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("virtiofs"))
	}
	before := mounts()
	for _, c := range []struct{ name, args, says string }{
		{"client", " run -- sh", ""},
		{"monitor", "/proc/self/exe monitor", "monitor died"},
		{"qemu", "qemu-system", "killed"},
	} {
		if c.name == "qemu" && os.Getenv("HOLT_BACKEND") == hypervisor.NameKVM {
			continue // there is none
		}
		t.Run(c.name, func(t *testing.T) {
			p := vmtest.Start(t, "run", "--", "sh", "-c", "echo up; sleep 600")
			p.WaitOutput(t, "up\n")
			victims := vmtest.Tree(t, p.Cmd.Process.Pid, c.args)
			if len(victims) != 1 {
				t.Fatalf("processes that look like %q: %v", c.args, victims)
			}
			if err := syscall.Kill(victims[0], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r := p.Wait(t)
			if c.says != "" && (r.Code != 125 || !strings.Contains(r.Stderr, c.says)) {
				t.Errorf("exit status %d, %q", r.Code, r.Stderr)
			}
			vmtest.NothingLeft(t)
			vmtest.Run(t, "run", "--", "true").Want(t, 0, "")
			if left, _ := filepath.Glob(filepath.Join(dirs.Runtime, "*")); len(left) > 0 {
				t.Errorf("left in the runtime directory: %v", left)
			}
			if n := mounts(); n != before {
				t.Errorf("%d virtio-fs mounts, %d before", n, before)
			}
		})
	}
}

// TestGuestFailures: whatever goes wrong in the guest is reported with the end
// of its console, and nothing hangs.
func TestGuestFailures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spin, halt := filepath.Join(dir, "spin"), filepath.Join(dir, "halt")
	for path, code := range map[string][]byte{
		spin: {0xeb, 0xfe},             // jmp .
		halt: {0xfa, 0xf4, 0xeb, 0xfd}, // cli; hlt; jmp back
	} {
		if err := os.WriteFile(path, boottest.PVHKernel(code), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { vmtest.NothingLeft(t) })
	for _, c := range []struct {
		name string
		args []string
		says []string
	}{
		{"kernel panic", []string{"run", "--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 60"}, []string{"reset the machine", "  | ", "Kernel panic"}},
		{"killed agent's root", []string{"run", "--", "sh", "-c", "reboot -f; sleep 60"}, []string{"the guest ended before its program did"}},
		{"kernel that spins", []string{"run", "--kernel", spin, "--", "true"}, []string{"did not come up within", "console is empty"}},
		{"kernel that halts", []string{"run", "--kernel", halt, "--", "true"}, []string{"has been idle", "console is empty"}},
		{"kernel without virtio", []string{"run", "--kernel", withoutModules(t), "--", "true"}, []string{"  | ", "holt-agent:", "vsock"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := vmtest.Run(t, c.args...)
			if r.Code != 125 {
				t.Errorf("exit status %d: %s", r.Code, r.Stderr)
			}
			for _, text := range c.says {
				if !strings.Contains(r.Stderr, text) {
					t.Errorf("no %q in:\n%s", text, r.Stderr)
				}
			}
		})
	}
}

// withoutModules copies a kernel to where the modules that it needs are not found,
// under a release that no host has.
func withoutModules(t *testing.T) string {
	t.Helper()
	image, release := vmtest.ModularKernel(t)
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Map(func(r rune) rune {
		if r >= '1' && r <= '9' {
			return '9'
		}
		return r
	}, release)
	path := filepath.Join(t.TempDir(), "vmlinux")
	if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(release), []byte(other)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
