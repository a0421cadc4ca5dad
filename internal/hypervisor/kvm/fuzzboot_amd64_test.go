package kvm

import (
	"bytes"
	"encoding/binary"
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

// patch changes bytes of an image: each three bytes of changes are an offset and
// what is xored to the byte there.
func patch(image, changes []byte) []byte {
	image = bytes.Clone(image)
	for ; len(changes) >= 3; changes = changes[3:] {
		at := int(binary.LittleEndian.Uint16(changes)) % len(image)
		image[at] ^= changes[2]
	}
	return image
}

// FuzzBootImage boots almost anything. It is refused or runs for a few
// milliseconds; its monitor stays well.
func FuzzBootImage(f *testing.F) {
	images := [][]byte{
		boottest.PVHKernel(codeSpin),
		boottest.PVHKernel(codeOff),
		boottest.PVHKernel([]byte{0x0F, 0x0B}), // ud2
		boottest.Vmlinux("6.1.0", 0),
		boottest.BzImage("6.1.0", boottest.AppendSize([]byte("not packed"), 10)),
	}
	for i := range images {
		f.Add(byte(i), []byte{}) // as it is
		for _, at := range []uint16{0, 24, 32, 56, 64 + 8, 64 + 24, 64 + 40, 0x1F1, 0x211, 0x236, 0x258, 0x260} {
			f.Add(byte(i), append(binary.LittleEndian.AppendUint16(nil, at), 0x80))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, which byte, changes []byte) {
		hang(t, 20*time.Second)
		if _, err := os.Stat("/dev/kvm"); err != nil {
			t.Skipf("this host has no KVM: %v", err)
		}
		image := patch(images[int(which)%len(images)], changes)
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
