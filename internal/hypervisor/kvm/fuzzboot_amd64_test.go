package kvm

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/rng"
)

// FuzzBootImage boots anything. It is refused or runs for a few milliseconds; its
// monitor stays well. A byte of the image, at most the 64 Ki-th, is changed: the
// headers are what counts.
func FuzzBootImage(f *testing.F) {
	for _, image := range [][]byte{
		boottest.PVHKernel(codeSpin),
		boottest.PVHKernel(codeOff),
		boottest.PVHKernel([]byte{0x0F, 0x0B}), // ud2
		boottest.Vmlinux("6.1.0", 0),
		boottest.BzImage("6.1.0", boottest.AppendSize([]byte("not packed"), 10)),
	} {
		for _, at := range []uint16{0, 24, 32, 56, 64 + 8, 64 + 40, 0x1F1, 0x211, 0x236, 0x258, 0x260} {
			f.Add(image, at, byte(0x80))
		}
		f.Add(image, uint16(0), byte(0)) // as it is
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, image []byte, at uint16, xor byte) {
		hang(t, 20*time.Second)
		if _, err := os.Stat("/dev/kvm"); err != nil {
			t.Skipf("this host has no KVM: %v", err)
		}
		if len(image) > 0 {
			image = bytes.Clone(image)
			image[int(at)%len(image)] ^= xor
		}
		path := filepath.Join(dir, "kernel")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		vm, err := Backend{}.Start(t.Context(), hypervisor.Machine{
			VCPUs: 2, MemoryBytes: 64 << 20, Kernel: hypervisor.Kernel{Path: path}, Console: io.Discard,
			Devices: []virtio.Device{&rng.Device{}},
		})
		if err != nil {
			return
		}
		select {
		case <-vm.Done():
		case <-time.After(3 * time.Millisecond):
			// It may end by itself meanwhile; then neither does anything.
			_ = vm.Pause(t.Context())
			_ = vm.Resume(t.Context())
		}
		vm.Kill()
	})
}
