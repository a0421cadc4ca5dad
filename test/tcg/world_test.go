//go:build tcg

package tcg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestGuestWorld checks what a program finds around it in the guest.
func TestGuestWorld(t *testing.T) {
	rw, ro := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(ro, "in"), []byte("from the host"), 0o640); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOLT_TEST_FROM_HOST", "taken")
	r := vmtest.Run(t, vmtest.GuestHalf(t, "world",
		"-c", "2", "-m", "256M", "-v", rw+":/data/rw", "-v", ro+":/data/ro:ro", "-w", "/data/rw",
		"-e", `QUOTED="as is" $HOME`, "-e", "HOLT_TEST_FROM_HOST", "-e", "HOLT_TEST_NOT_SET",
		"--rlimit", "RLIMIT_NOFILE=123:456", "--rlimit", "RLIMIT_CORE=unlimited")...)
	r.Want(t, 0, "fine\n")
	if b, err := os.ReadFile(filepath.Join(rw, "made")); err != nil || string(b) != "in the guest" {
		t.Errorf("on the host: %q, %v", b, err)
	}
	if b, err := os.ReadFile(filepath.Join(ro, "in")); err != nil || string(b) != "from the host" {
		t.Errorf("the read-only directory changed: %q, %v", b, err)
	}
}

// inspectWorld is the guest's half.
func inspectWorld() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for path, magic := range map[string]int64{
		"/": unix.OVERLAYFS_SUPER_MAGIC, "/proc": unix.PROC_SUPER_MAGIC, "/sys": unix.SYSFS_MAGIC, "/dev": unix.TMPFS_MAGIC, // devtmpfs
		"/dev/pts": unix.DEVPTS_SUPER_MAGIC, "/dev/shm": unix.TMPFS_MAGIC, "/run": unix.TMPFS_MAGIC, "/tmp": unix.TMPFS_MAGIC,
		"/sys/fs/cgroup": unix.CGROUP2_SUPER_MAGIC, "/data/rw": unix.FUSE_SUPER_MAGIC, "/data/ro": unix.FUSE_SUPER_MAGIC,
	} {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		check(err == nil && st.Type == magic, "%s: file system %#x, %v; want %#x", path, st.Type, err, magic)
	}
	wd, err := os.Getwd()
	check(wd == "/data/rw", "working directory %q, %v", wd, err)
	check(os.Getenv("QUOTED") == `"as is" $HOME`, "QUOTED is %q", os.Getenv("QUOTED"))
	check(os.Getenv("HOLT_TEST_FROM_HOST") == "taken", "HOLT_TEST_FROM_HOST is %q", os.Getenv("HOLT_TEST_FROM_HOST"))
	_, set := os.LookupEnv("HOLT_TEST_NOT_SET")
	check(!set, "HOLT_TEST_NOT_SET is set")
	check(os.Getenv("HOME") == "/root" && strings.Contains(os.Getenv("PATH"), "/bin"), "HOME %q, PATH %q", os.Getenv("HOME"), os.Getenv("PATH"))

	limits, err := os.ReadFile("/proc/self/limits")
	check(err == nil, "limits: %v", err)
	for name, want := range map[string][]string{"Max open files": {"456"}, "Max core file size": {"unlimited", "unlimited"}} {
		for line := range strings.Lines(string(limits)) {
			if rest, ok := strings.CutPrefix(line, name); ok {
				// Go raises its own soft limit of open files to the hard one.
				f := strings.Fields(rest)
				check(slices.Contains(f, want[0]) && f[1] == want[len(want)-1], "%s: %v", name, f)
			}
		}
	}
	cpus, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*")
	check(len(cpus) == 2, "%d CPUs, %v", len(cpus), err)
	mem, err := os.ReadFile("/proc/meminfo")
	var kib int
	fmt.Sscanf(string(mem), "MemTotal: %d", &kib)
	check(kib > 180<<10 && kib <= 256<<10, "%d KiB of memory, %v", kib, err)

	err = os.WriteFile("/data/rw/made", []byte("in the guest"), 0o644)
	check(err == nil, "write to the mapped directory: %v", err)
	err = os.WriteFile("/data/ro/made", nil, 0o644)
	check(errors.Is(err, unix.EROFS), "write to the read-only directory: %v", err)
	err = unix.Mount("", "/data/ro", "", unix.MS_REMOUNT, "")
	check(err == nil, "remount: %v", err)
	err = os.WriteFile("/data/ro/in", nil, 0o644)
	check(errors.Is(err, unix.EROFS), "write to the read-only directory, remounted: %v", err)
	err = os.WriteFile("/made-in-overlay", nil, 0o644)
	check(err == nil, "write to the overlaid root: %v", err)
	random := make([]byte, 16)
	hw, err := os.Open("/dev/hwrng")
	check(err == nil, "hwrng: %v", err)
	if err == nil {
		n, err := hw.Read(random)
		check(n > 0 && err == nil, "read hwrng: %d, %v", n, err)
		hw.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println("fine")
	return nil
}
