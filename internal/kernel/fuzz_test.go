package kernel

import (
	"os"
	"testing"

	"github.com/holtvm/holt/internal/boot/boottest"
)

func FuzzModinfo(f *testing.F) {
	f.Add(boottest.Module("virtio_pci", release, "virtio", "virtio_ring"))
	f.Add(boottest.Vmlinux(release, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseModinfo(b) // it must come back
	})
}

func FuzzManifest(f *testing.F) {
	b, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		if err := m.check(); err != nil {
			t.Errorf("accepted, but %v", err)
		}
	})
}
