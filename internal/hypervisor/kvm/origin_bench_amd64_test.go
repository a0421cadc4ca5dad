package kvm

import (
	"fmt"
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/hypervisor"
)

// BenchmarkRestore is the time from the call of Start to its return, for machines that
// go on from an image.
func BenchmarkRestore(b *testing.B) {
	for _, size := range []uint64{256 << 20, 4 << 30} {
		for _, vcpus := range []int{1, 4} {
			b.Run(fmt.Sprintf("%dMiB/%d", size>>20, vcpus), func(b *testing.B) {
				m := spec(b, codeHalt)
				m.MemoryBytes, m.VCPUs = size, vcpus
				m.Devices = everyDevice(b)
				first := launch(b, m)
				m.Origin = save(b, first)
				first.Kill()
				for b.Loop() {
					b.StopTimer()
					m.Devices = everyDevice(b)
					b.StartTimer()
					guest, err := Backend{}.Start(b.Context(), m)
					b.StopTimer()
					if err != nil {
						b.Fatal(err)
					}
					guest.Kill()
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkSave is the time that a paused machine's state takes, without its memory.
func BenchmarkSave(b *testing.B) {
	m := spec(b, codeHalt)
	m.VCPUs = 4
	m.Devices = everyDevice(b)
	guest := launch(b, m)
	if err := guest.Pause(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := guest.(hypervisor.Saver).Save(func([]byte, *guestmem.Memory) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
