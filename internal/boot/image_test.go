package boot

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/boot/boottest"
)

func TestOpenImageRefuses(t *testing.T) {
	bz := boottest.BzImage(release, []byte("payload"))
	edit := func(off int, b ...byte) []byte {
		c := bytes.Clone(bz)
		copy(c[off:], b)
		return c
	}
	top := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for name, b := range map[string][]byte{
		"empty":              nil,
		"three bytes":        []byte("\x7fEL"),
		"a script":           bytes.Repeat([]byte("#!/bin/sh\n"), 200),
		"32-bit bzImage":     edit(offXLoadFlags, 0, 0),
		"old bzImage":        edit(offProtocol, 0x0b, 2),
		"bzImage that wraps": edit(offPrefAddress, top...),
		"cut bzImage":        bz[:5*512],
		"module":             boottest.Module("m", release),
	} {
		if _, err := OpenImage(save(t, b)); !errors.Is(err, ErrNotKernel) {
			t.Errorf("%s: got %v, want ErrNotKernel", name, err)
		}
	}
}

func TestOpenImageOpensFilesOnly(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir} {
		if _, err := OpenImage(path); err == nil {
			t.Errorf("opened %s", path)
		}
		img := open(t, boottest.Vmlinux(release, 0))
		if _, err := Load(fresh(t, 32*mib), Params{Image: img, Initramfs: path, E820: pcMap(32 * mib)}); err == nil {
			t.Errorf("loaded %s as an initramfs", path)
		}
	}
	if _, err := OpenImage(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// TestBzImageLimitsItsParameters has the kernel's own limits below ours.
func TestBzImageLimitsItsParameters(t *testing.T) {
	bz := boottest.BzImage(release, []byte("payload"))
	copy(bz[offCmdlineSize:], []byte{10, 0, 0, 0})
	copy(bz[offInitrdAddrMax:], []byte{0xff, 0xff, 0x5f, 1}) // 0x15fffff, where InitSize ends above
	img := open(t, bz)
	for name, p := range map[string]Params{
		"command line": {Cmdline: "eleven byte"},
		"initramfs":    {Cmdline: "ten bytes.", Initramfs: save(t, make([]byte, 3*mib))},
	} {
		p.Image, p.E820 = img, pcMap(64*mib)
		if _, err := Load(fresh(t, 64*mib), p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p := Params{Image: img, Cmdline: "ten bytes.", Initramfs: save(t, make([]byte, mib)), E820: pcMap(64 * mib)}
	if _, err := Load(fresh(t, 64*mib), p); err != nil {
		t.Errorf("within the limits: %v", err)
	}
}
