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
