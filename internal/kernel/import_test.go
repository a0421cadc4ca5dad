package kernel

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/boot/boottest"
)

func TestImport(t *testing.T) {
	s := newStore(t)
	o := install(t, t.TempDir(), release, treeFiles(release))
	k, err := s.Import(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkKernel(t, k)
	again, err := s.Get(release)
	if err != nil {
		t.Fatal(err)
	}
	checkKernel(t, again)
	if again.Source != o.Image {
		t.Errorf("source %q, want the path", again.Source)
	}
	if second, err := s.Import(t.Context(), o); err != nil || !second.Created.Equal(k.Created) {
		t.Errorf("the same import again made another: %v, %v", second.Created, err)
	}
	unfinished(t, s.dir)
}

func TestImportFormats(t *testing.T) {
	for name, tt := range map[string]struct {
		image  []byte
		format ImageFormat
		pvh    bool
	}{
		"bzImage with PVH":            {bzImage(release, 1), FormatELF, true},
		"bzImage without PVH":         {bzImage(release, 0), FormatBzImage, false},
		"bzImage, unknown packing":    {boottest.BzImage(release, []byte("\x89LZO...............")), FormatBzImage, false},
		"bzImage with something else": {boottest.BzImage(release, gz([]byte("no ELF"))), FormatBzImage, false},
		"ELF with PVH":                {boottest.Vmlinux(release, 1), FormatELF, true},
		"ELF without PVH":             {boottest.Vmlinux(release, 0), FormatELF, false},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := newStore(t).Import(t.Context(), ImportOptions{Image: writeFile(t, filepath.Join(t.TempDir(), "k"), tt.image)})
			if err != nil {
				t.Fatal(err)
			}
			if k.ImageFormat != tt.format || k.PVH != tt.pvh || k.Name != release || len(k.Modules) != 0 {
				t.Errorf("got %+v", k.Manifest)
			}
			if info, err := os.Stat(k.ImagePath()); err != nil || info.Size() == 0 {
				t.Errorf("no image: %v", err)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	without := func(names ...string) map[string][]byte {
		files := treeFiles(release)
		maps.DeleteFunc(files, func(path string, _ []byte) bool {
			for _, n := range names {
				if strings.HasPrefix(filepath.Base(path), n+".ko") {
					return true
				}
			}
			return false
		})
		return files
	}
	with := func(name string, content []byte) map[string][]byte {
		files := treeFiles(release)
		files[name] = content
		return files
	}
	for name, tt := range map[string]struct {
		files map[string][]byte
		says  []string
	}{
		"core modules missing":  {without("virtiofs", "virtio-rng"), []string{"no virtiofs module and it is not built in (CONFIG_VIRTIO_FS)", "virtio-rng", release}},
		"a dependency missing":  {without("fuse"), []string{"CONFIG_VIRTIO_FS"}},
		"another kernel's tree": {treeFiles("6.1.0-55-cloud-amd64"), []string{"6.1.0-55-cloud-amd64", release}},
		"a circle":              {with("kernel/drivers/virtio/virtio.ko", boottest.Module("virtio", release, "virtio_ring")), nil},
		"a damaged module":      {with("kernel/drivers/virtio/virtio.ko", []byte("nonsense")), []string{"virtio.ko"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a circle" {
				tt.files["kernel/drivers/virtio/virtio_ring.ko"] = boottest.Module("virtio_ring", release, "virtio")
				tt.says = []string{"depends on itself"}
			}
			s := newStore(t)
			_, err := s.Import(t.Context(), install(t, t.TempDir(), release, tt.files))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if kernels, err := s.List(); len(kernels) != 0 || err != nil {
				t.Errorf("the store has %v, %v", kernels, err)
			}
			unfinished(t, s.dir)
		})
	}
	dir := t.TempDir()
	for name, o := range map[string]ImportOptions{
		"text":        {Image: writeFile(t, dir+"/text", []byte("#!/bin/sh\n"))},
		"empty":       {Image: writeFile(t, dir+"/empty", nil)},
		"a directory": {Image: dir},
		"a program":   {Image: writeFile(t, dir+"/ko", boottest.Module("m", release))},
		"cut bzImage": {Image: writeFile(t, dir+"/cut", bzImage(release, 1)[:2850])},
	} {
		if _, err := newStore(t).Import(t.Context(), o); !errors.Is(err, boot.ErrNotKernel) {
			t.Errorf("%s: got %v, want ErrNotKernel", name, err)
		}
	}
	if _, err := newStore(t).Import(t.Context(), ImportOptions{Image: writeFile(t, dir+"/k", bzImage(release, 1)), Name: "../x"}); err == nil {
		t.Error("a name with a path in it was accepted")
	}
}

func TestImportSameName(t *testing.T) {
	s, dir := newStore(t), t.TempDir()
	first := ImportOptions{Image: writeFile(t, dir+"/1", bzImage("1.0", 1)), Name: "k"}
	second := ImportOptions{Image: writeFile(t, dir+"/2", bzImage("2.0", 1)), Name: "k"}
	if _, err := s.Import(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(t.Context(), second); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v, want ErrExists", err)
	}
	second.Replace = true
	if _, err := s.Import(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if k, err := s.Get("k"); err != nil || k.Version != "2.0" {
		t.Errorf("got version %q, %v, want 2.0", k.Version, err)
	}
}

func TestImportAtTheSameTime(t *testing.T) {
	s := newStore(t)
	o := install(t, t.TempDir(), release, treeFiles(release))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			k, err := s.Import(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			checkKernel(t, k)
		})
	}
	wg.Wait()
	unfinished(t, s.dir)
}

func TestImportRelease(t *testing.T) {
	s, root := newStore(t), t.TempDir()
	if _, err := s.importRelease(t.Context(), root, release); err == nil || !strings.Contains(err.Error(), "holt kernel fetch") {
		t.Errorf("no kernel installed: %v", err)
	}
	install(t, root, release, treeFiles(release))
	k, err := s.importRelease(t.Context(), root, release)
	if err != nil {
		t.Fatal(err)
	}
	checkKernel(t, k)
}
