package boot

import (
	"bytes"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/boot/boottest"
)

// limitedBuffer fails the test when a payload unpacks to more than it may.
type limitedBuffer struct {
	t *testing.T
	n int
}

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if l.n += len(p); l.n > MaxUnpacked+1 {
		l.t.Fatal("unpacked more than the limit")
	}
	return len(p), nil
}

func FuzzBzImage(f *testing.F) {
	vmlinux := boottest.Vmlinux(release, 1)
	f.Add(boottest.BzImage(release, pack(f, vmlinux, gzipped)))
	f.Add(boottest.BzImage(release, boottest.AppendSize(pack(f, vmlinux, lz4Legacy), len(vmlinux))))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := parse(b)
		if err != nil {
			return
		}
		if img.Release != "" && strings.Contains(img.Release, "/") {
			t.Errorf("release %q", img.Release)
		}
		_ = img.Unpack(&limitedBuffer{t: t}) // only that it ends matters
	})
}

func FuzzELF(f *testing.F) {
	f.Add(boottest.Vmlinux(release, 1))
	f.Add(boottest.Module("m", release, "n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseELF(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if _, err := k.Release(); err != nil {
			t.Errorf("release of an accepted kernel: %v", err)
		}
	})
}

func FuzzCPIO(f *testing.F) {
	f.Add(writeAll(f, tree))
	f.Add(rawEntry("a/../b\x00", ModeRegular, 1<<31, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, _ := readAll(b, noLimits)
		total := int64(0)
		for _, e := range entries {
			total += int64(len(e.content))
			if clean, err := cleanName(e.Name); err != nil || clean != e.Name {
				t.Errorf("name %q came through", e.Name)
			}
		}
		if total > noLimits.Bytes || len(entries) > noLimits.Entries {
			t.Errorf("%d entries, %d bytes: over the limits", len(entries), total)
		}
	})
}

// FuzzLoad loads anything that OpenImage takes into a small machine. What is
// not RAM there stays as it was.
func FuzzLoad(f *testing.F) {
	f.Add(elfFile(0xffffffff81000010,
		part{0xffffffff81000000, 0x1000000, 100, noise(100, 1)},
		part{0, 0x1001000, 0x201000, noise(50, 2)},
	), "quiet", uint16(100), uint8(32))
	f.Add(boottest.Vmlinux(release, 1), "", uint16(0), uint8(17))
	f.Add(boottest.BzImage(release, []byte("payload")), "a b", uint16(4097), uint8(24))
	f.Add(elfFile(0x200000, part{0, 0x200000, 1 << 63, noise(100, 1)}), "", uint16(1), uint8(4))
	f.Fuzz(func(t *testing.T, kernel []byte, cmdline string, initramfs uint16, mibs uint8) {
		img, err := OpenImage(save(t, kernel))
		if err != nil {
			return
		}
		defer img.Close()
		size := max(uint64(mibs), 2) * mib
		mem := fresh(t, size)
		defer mem.Close()
		const hole, holeSize = 0x9fc00, mib - 0x9fc00
		holeBytes := bytesAt(t, mem, hole, holeSize)
		copy(holeBytes, bytes.Repeat([]byte{0x5a}, holeSize))
		p := Params{Image: img, Initramfs: save(t, make([]byte, initramfs)), Cmdline: cmdline, E820: pcMap(size)}
		entry, err := Load(mem, p)
		if bytes.Count(holeBytes, []byte{0x5a}) != holeSize {
			t.Error("memory that is not RAM was written")
		}
		if err != nil {
			return
		}
		if entry.RIP < mib || entry.RIP >= size {
			t.Errorf("the entry point is at %#x of %#x", entry.RIP, size)
		}
		if got := bytesAt(t, mem, CmdlineAddr, uint64(len(cmdline)+1)); string(got) != cmdline+"\x00" {
			t.Errorf("command line %q became %q", cmdline, got)
		}
	})
}
