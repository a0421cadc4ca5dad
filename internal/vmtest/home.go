package vmtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/paths"
)

// Home gives Holt a home of its own for the test's time, with this user's kernels,
// roots and cache and nobody's VMs. When the test ends, so do the VMs that it left;
// the test fails if a process, a VM's directory or a socket is there after that.
func Home(t testing.TB) paths.Dirs {
	t.Helper()
	user, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	t.Setenv("HOLT_HOME", home)
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dirs.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	for place, target := range map[string]string{
		filepath.Join(dirs.Data, "kernels"): filepath.Join(user.Data, "kernels"),
		filepath.Join(dirs.Data, "roots"):   filepath.Join(user.Data, "roots"),
		dirs.Cache:                          user.Cache,
	} {
		if err := os.Symlink(target, place); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if names := strings.Fields(Run(t, "ps", "-aq").Stdout); len(names) > 0 {
			if r := Run(t, append([]string{"rm", "-f"}, names...)...); r.Code != 0 {
				t.Errorf("remove the test's VMs: %s", r.Stderr)
			}
		}
		EmptyHome(t, dirs)
	})
	return dirs
}

// EmptyHome fails the test unless, a moment after the last VM was removed, no process
// of a home is there and no VM's directory.
func EmptyHome(t testing.TB, dirs paths.Dirs) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = inHome(t, dirs); len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}

// inHome lists the processes of a home and the files of its VMs.
func inHome(t testing.TB, dirs paths.Dirs) (left []string) {
	t.Helper()
	for pid, args := range HomeProcesses(t, dirs) {
		left = append(left, fmt.Sprintf("process %d: %.80s", pid, args))
	}
	for _, top := range []string{filepath.Join(dirs.Data, "vms"), dirs.Runtime} {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && path != top && !lockOrPools(e.Name()) {
				left = append(left, path)
			}
			return nil // what vanishes meanwhile is not left behind
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return left
}

// lockOrPools reports whether a file may stay: one that is a lock of a name, or the
// directory of pools.
func lockOrPools(name string) bool {
	return name == "pools" || strings.HasPrefix(name, ".") && strings.HasSuffix(name, ".lock")
}

// HomeProcesses are the processes that have a home in their environment or, as QEMU has,
// in their arguments, this one apart: its commands, monitors and their helpers, as
// command lines by pid.
func HomeProcesses(t testing.TB, dirs paths.Dirs) map[int]string {
	t.Helper()
	home := filepath.Dir(dirs.Data)
	want := []byte("HOLT_HOME=" + home + "\x00")
	found := map[int]string{}
	for pid, p := range processes(t) {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if pid != os.Getpid() && err == nil && (bytes.Contains(env, want) || strings.Contains(p.args, home+"/")) {
			found[pid] = p.args
		}
	}
	return found
}

// KillProcess kills a process and returns when it is dead.
func KillProcess(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill process %d: %v", pid, err)
	}
	WaitFor(t, func() bool { _, lives := processes(t)[pid]; return !lives }, func() string { return fmt.Sprintf("process %d lives on", pid) })
}
