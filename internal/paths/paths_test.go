package paths

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFromEnv(t *testing.T) {
	uid := os.Getuid()
	runtime := t.TempDir()
	tests := []struct {
		name string
		env  map[string]string
		want Dirs
	}{
		{
			name: "HOLT_HOME moves everything",
			env:  map[string]string{"HOLT_HOME": "/srv/holt/", "HOME": "/home/u", "XDG_DATA_HOME": "/x"},
			want: Dirs{"/srv/holt/data", "/srv/holt/cache", "/srv/holt/run"},
		},
		{
			name: "XDG variables",
			env:  map[string]string{"XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/c", "XDG_RUNTIME_DIR": runtime},
			want: Dirs{"/d/holt", "/c/holt", runtime + "/holt"},
		},
		{
			name: "HOME alone",
			env:  map[string]string{"HOME": "/home/u"},
			want: Dirs{"/home/u/.local/share/holt", "/home/u/.cache/holt", fallback(uid)},
		},
		{
			name: "relative and missing values are ignored",
			env:  map[string]string{"HOME": "/home/u", "XDG_DATA_HOME": "rel", "XDG_RUNTIME_DIR": runtime + "/none"},
			want: Dirs{"/home/u/.local/share/holt", "/home/u/.cache/holt", fallback(uid)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fromEnv(func(k string) string { return tt.env[k] }, uid)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func fallback(uid int) string { return runtimeDir(func(string) string { return "" }, uid) }

func TestFromEnvWithoutHome(t *testing.T) {
	if _, err := fromEnv(func(string) string { return "" }, 1); err == nil {
		t.Error("no error although nothing says where to keep files")
	}
}

func TestForeignRuntimeDirIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	getenv := func(k string) string { return map[string]string{"XDG_RUNTIME_DIR": dir}[k] }
	if got := runtimeDir(getenv, os.Getuid()+1); got == dir+"/holt" {
		t.Errorf("another user's runtime directory was chosen: %s", got)
	}
}

func TestMakeRuntime(t *testing.T) {
	base := t.TempDir()
	link := filepath.Join(base, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(base, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir string
		unsafe    bool
	}{
		{"created", filepath.Join(base, "a/b/run"), false},
		{"symlink", link, true},
		{"file", file, true},
		{"others may enter", open, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := Dirs{Runtime: tt.dir}
			for range 2 { // the second call finds it there
				if err := d.MakeRuntime(); errors.Is(err, ErrUnsafeDir) != tt.unsafe || (err != nil) != tt.unsafe {
					t.Errorf("MakeRuntime: %v", err)
				}
			}
		})
	}
	if err := checkOwnDir(base, os.Getuid()+1); !errors.Is(err, ErrUnsafeDir) {
		t.Errorf("a directory of another user passed: %v", err)
	}
}
