package kernel

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holtvm/holt/internal/boot"
)

// readInitramfs returns the contents of all entries by name.
func readInitramfs(t *testing.T, path string) (map[string]string, map[string]boot.CPIOHeader) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	contents, headers := make(map[string]string), make(map[string]boot.CPIOHeader)
	r := boot.NewCPIOReader(f, boot.CPIOLimits{Entries: 1000, Bytes: 1 << 20})
	for {
		h, err := r.Next()
		if err == io.EOF {
			return contents, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		contents[h.Name], headers[h.Name] = string(content), h
	}
}

func TestInitramfs(t *testing.T) {
	s := newStore(t)
	k, err := s.Import(t.Context(), install(t, t.TempDir(), release, treeFiles(release)))
	if err != nil {
		t.Fatal(err)
	}
	path, err := Initramfs(k, Bytes("agent"), s.cache, "net", "blk", "filesystems")
	if err != nil {
		t.Fatal(err)
	}
	contents, headers := readInitramfs(t, path)
	for name, want := range map[string]uint32{
		"init": boot.ModeRegular | 0o755, "dev/console": boot.ModeChar | 0o600, "dev/null": boot.ModeChar | 0o666,
		"proc": boot.ModeDir | 0o755, "sys": boot.ModeDir | 0o755, "newroot": boot.ModeDir | 0o755,
	} {
		if headers[name].Mode != want {
			t.Errorf("%s has mode %#o, want %#o", name, headers[name].Mode, want)
		}
	}
	if contents["init"] != "agent" {
		t.Errorf("/init is %q", contents["init"])
	}
	var list []Module
	if err := json.Unmarshal([]byte(contents["modules.json"]), &list); err != nil {
		t.Fatal(err)
	}
	if got := loadOrder(list); !slices.Equal(got, wantModules) {
		t.Errorf("modules %q\nwant %q", got, wantModules)
	}
	for i, m := range list {
		stored, err := os.ReadFile(k.modulePath(k.Modules[i]))
		if err != nil || contents["modules/"+m.File] != string(stored) || len(stored) == 0 {
			t.Errorf("module file %s is not the stored one, or %v", m.File, err)
		}
	}
	if list[0].File != "00-virtio_ring.ko" {
		t.Errorf("first module file is %s", list[0].File)
	}
}

func TestInitramfsWithoutGroups(t *testing.T) {
	s := newStore(t)
	k, err := s.Import(t.Context(), install(t, t.TempDir(), release, treeFiles(release)))
	if err != nil {
		t.Fatal(err)
	}
	path, err := Initramfs(k, Bytes("agent"), s.cache)
	if err != nil {
		t.Fatal(err)
	}
	contents, _ := readInitramfs(t, path)
	var list []Module
	if err := json.Unmarshal([]byte(contents["modules.json"]), &list); err != nil {
		t.Fatal(err)
	}
	if got, want := loadOrder(list), wantModules[:8]; !slices.Equal(got, want) {
		t.Errorf("modules %q\nwant %q", got, want)
	}
}

func TestInitramfsIsCachedByContent(t *testing.T) {
	s := newStore(t)
	k, err := s.Import(t.Context(), install(t, t.TempDir(), release, treeFiles(release)))
	if err != nil {
		t.Fatal(err)
	}
	initramfs := func(k Kernel, agent string, groups ...string) string {
		t.Helper()
		path, err := Initramfs(k, Bytes(agent), s.cache, groups...)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := initramfs(k, "agent")
	if err := os.WriteFile(first, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(initramfs(k, "agent")); string(got) != "kept" {
		t.Error("the archive was made again")
	}
	other := k
	other.Modules = slices.Clone(k.Modules)
	other.Modules[0].SHA256 = "different"
	seen := map[string]bool{first: true}
	for _, path := range []string{initramfs(k, "agent 2"), initramfs(k, "agent", "net"), initramfs(other, "agent")} {
		if seen[path] {
			t.Errorf("different inputs share the archive %s", path)
		}
		seen[path] = true
	}
	for i := range maxInitramfs {
		initramfs(k, fmt.Sprint(i))
	}
	longAgo(t, filepath.Join(s.cache, "initramfs"))
	initramfs(k, "one more")
	if files, err := os.ReadDir(filepath.Join(s.cache, "initramfs")); err != nil || len(files) != maxInitramfs {
		t.Errorf("the cache has %d archives, %v, want %d", len(files), err, maxInitramfs)
	}
}
