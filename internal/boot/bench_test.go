package boot

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/guestmem"
)

// BenchmarkLoad puts a kernel of 25 MB and an initramfs of 4 MB, both in the
// page cache, into 256 MiB of memory that is fresh each time, as the machine
// makes it: with huge pages if the host has them.
func BenchmarkLoad(b *testing.B) {
	const size = 256 * mib
	file := elfFile(0x1000000,
		part{0xffffffff81000000, 0x1000000, 18 * mib, noise(18*mib, 1)},
		part{0xffffffff82200000, 0x2200000, 3 * mib, noise(3*mib, 2)},
		part{0, 0x2500000, 0x34000, noise(0x34000, 3)},
		part{0xffffffff82534000, 0x2534000, 8 * mib, noise(4*mib, 4)},
	)
	kernel, initramfs := save(b, file), save(b, noise(4*mib, 5))
	b.SetBytes(int64(len(file) + 4*mib))
	for b.Loop() {
		b.StopTimer()
		mem, err := guestmem.Map([]guestmem.Region{{Size: size}})
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.Madvise(bytesAt(b, mem, 0, size), unix.MADV_HUGEPAGE) // a host may have none
		b.StartTimer()
		img, err := OpenImage(kernel)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Load(mem, Params{Image: img, Initramfs: initramfs, E820: pcMap(size)}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		img.Close()
		mem.Close()
		b.StartTimer()
	}
}

// BenchmarkOpenImage is the parsing alone.
func BenchmarkOpenImage(b *testing.B) {
	file, _ := linuxLike(mib)
	kernel := save(b, file)
	for b.Loop() {
		img, err := OpenImage(kernel)
		if err != nil {
			b.Fatal(err)
		}
		img.Close()
	}
}
