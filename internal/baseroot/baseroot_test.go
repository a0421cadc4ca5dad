package baseroot_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/aptpkg/apttest"
	"github.com/holtvm/holt/internal/baseroot"
)

// busybox is enough of one for Make.
const busybox = "#!/bin/sh\nprintf 'bin/busybox\\nbin/sh\\nusr/bin/env\\nsbin/init\\nlinuxrc\\n'\n"

func TestMake(t *testing.T) {
	apt := apttest.New(t)
	apt.Add(apttest.OnHost, "busybox-static", "1:1.35-4", "", apttest.Deb(t, map[string]string{"bin/busybox": busybox}))
	base, cache := t.TempDir(), t.TempDir()
	dir := filepath.Join(base, "roots", "busybox")

	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := baseroot.Make(t.Context(), dir, cache, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for name, want := range map[string]string{"bin/sh": "busybox", "usr/bin/env": "../../bin/busybox", "sbin/init": "../bin/busybox"} {
		if got, err := os.Readlink(filepath.Join(dir, name)); got != want {
			t.Errorf("%s links to %q, %v, want %q", name, got, err, want)
		}
	}
	for name, want := range map[string]os.FileMode{
		".": os.ModeDir | 0o755, "tmp": os.ModeDir | os.ModeSticky | 0o777, "bin/busybox": 0o755, "etc/passwd": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want mode %v", name, info, err, want)
		}
	}

	mine := filepath.Join(dir, "etc/mine")
	if err := os.WriteFile(mine, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	apt.Calls()
	if err := baseroot.Make(t.Context(), dir, cache, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error("a second Make lost the user's file")
	}
	if calls := apt.Calls(); calls != nil {
		t.Errorf("a second Make asked apt %q", calls)
	}
}

func TestMakeRefuses(t *testing.T) {
	apt := apttest.New(t)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := baseroot.Make(t.Context(), full, t.TempDir(), nil); !errors.Is(err, baseroot.ErrNotBaseRoot) {
		t.Errorf("a directory with other things in it: %v", err)
	}
	for name, files := range map[string]map[string]string{
		"no busybox in the package": {"usr/share/doc/x": ""},
		"an odd command":            {"bin/busybox": "#!/bin/sh\necho ../../etc/x\n"},
		"a busybox that fails":      {"bin/busybox": "#!/bin/sh\nexit 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			apt.Add(apttest.OnHost, "busybox-static", "1", "", apttest.Deb(t, files))
			parent := t.TempDir()
			dir := filepath.Join(parent, "root")
			if err := baseroot.Make(t.Context(), dir, t.TempDir(), nil); err == nil {
				t.Error("no error")
			}
			// The lock file stays: removing it would race with waiters.
			if left, err := os.ReadDir(parent); err != nil || len(left) != 1 || left[0].Name() != ".root.lock" {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestMakeReal makes a base root from the distribution's busybox.
func TestMakeReal(t *testing.T) {
	if os.Getenv("HOLT_TEST_FETCH") != "1" {
		t.Skip("needs the network: set HOLT_TEST_FETCH=1")
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := baseroot.Make(t.Context(), dir, t.TempDir(), func(step string) { t.Log(step) }); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(dir, "bin/sh"), "-c", "echo $((6*7))").Output()
	if err != nil || string(out) != "42\n" {
		t.Errorf("its shell says %q, %v", out, err)
	}
}
