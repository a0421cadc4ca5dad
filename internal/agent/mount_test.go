package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMakeDir: mount points are found and made inside of the root, whatever
// its symbolic links say.
func TestMakeDir(t *testing.T) {
	outside := t.TempDir()
	root := t.TempDir()
	for _, d := range []string{"run", "a/b"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{
		"var": "/", "inside": "/run", "up": "../../../../../../../../.." + outside,
		"out": outside, "dangling": "/no/where", "magic": "/proc/self/cwd",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)

	tests := []struct {
		path string
		want string // where the directory is, below root; or an error
		err  error
	}{
		{path: "/", want: "."},
		{path: "/a/b", want: "a/b"},
		{path: "/a/new/er", want: "a/new/er"},
		{path: "/inside/x", want: "run/x"},
		{path: "/var/run/y", want: "run/y"},
		{path: "/out/z", err: unix.ENOENT},
		{path: "/up/z", err: unix.ENOENT},
		{path: "/dangling", err: unix.ENOENT},
		{path: "/file", err: unix.ENOTDIR},
		{path: "/file/x", err: unix.ENOTDIR},
	}
	for _, tt := range tests {
		dir, err := makeDir(fd, tt.path)
		if tt.err != nil {
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: error %v, want %v", tt.path, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		var got, want unix.Stat_t
		err = errors.Join(unix.Fstat(dir, &got), unix.Stat(filepath.Join(root, tt.want), &want))
		if err != nil || got.Ino != want.Ino || got.Dev != want.Dev {
			t.Errorf("%s is not %s: %v", tt.path, tt.want, err)
		}
		_ = unix.Close(dir)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside of the root: %v, %v", entries, err)
	}
}

func TestMountErrorExplainsReadOnlyRoot(t *testing.T) {
	e := asError(mountError("/data", unix.EROFS))
	if e.Kind != "mount" || e.Message == "" {
		t.Errorf("%+v", e)
	}
}
