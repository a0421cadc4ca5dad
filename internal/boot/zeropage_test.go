package boot

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/holtvm/holt/internal/boot/boottest"
)

// TestZeroPage reads every field that Linux does, at the offsets of
// Documentation/arch/x86/zero-page.rst, and expects zeros everywhere else.
func TestZeroPage(t *testing.T) {
	vmlinux, _ := linuxLike(1 << 20)
	bz := boottest.BzImage(release, []byte("payload"))
	bz[0x211] |= 0x80 // CAN_USE_HEAP, which is for the loader to say
	bz[0x250] = 1     // setup_data, likewise
	const size = 64 * mib
	for name, tt := range map[string]struct {
		kernel           []byte
		protocol         uint64
		start, alignment uint64
	}{
		"vmlinux": {vmlinux, 0x20f, 0x1000000, 2 * mib},
		"bzImage": {bz, 0x20f, boottest.LoadAddr, 2 * mib},
	} {
		mem := fresh(t, size)
		copy(bytesAt(t, mem, ZeroPageAddr, 4096), bytes.Repeat([]byte{0xaa}, 4096))
		if _, err := Load(mem, Params{Image: open(t, tt.kernel), E820: pcMap(size), RSDP: 0x1234e0000, Initramfs: save(t, []byte("x"))}); err != nil {
			t.Fatal(err)
		}
		page := bytes.Clone(bytesAt(t, mem, ZeroPageAddr, 4096))
		take := func(what string, off, n int, want uint64) {
			var b [8]byte
			copy(b[:], page[off:off+n])
			if got := binary.LittleEndian.Uint64(b[:]); got != want {
				t.Errorf("%s: %s is %#x, want %#x", name, what, got, want)
			}
			clear(page[off : off+n])
		}
		take("acpi_rsdp_addr", 0x70, 8, 0x1234e0000)
		take("e820_entries", 0x1e8, 1, 3)
		take("vid_mode", 0x1fa, 2, 0xffff)
		take("boot_flag", 0x1fe, 2, 0xaa55)
		take("header", 0x202, 4, 0x53726448)
		take("version", 0x206, 2, tt.protocol)
		take("type_of_loader", 0x210, 1, 0xff)
		take("loadflags", 0x211, 1, 1)
		take("code32_start", 0x214, 4, tt.start)
		take("ramdisk_image", 0x218, 4, size-0x1000)
		take("ramdisk_size", 0x21c, 4, 1)
		take("cmd_line_ptr", 0x228, 4, CmdlineAddr)
		take("kernel_alignment", 0x230, 4, tt.alignment)
		take("setup_data", 0x250, 8, 0)
		for i, e := range pcMap(size) {
			at := 0x2d0 + 20*i
			take("e820 address", at, 8, e.Addr)
			take("e820 size", at+8, 8, e.Size)
			take("e820 type", at+16, 4, uint64(e.Type))
		}
		if name == "bzImage" {
			clear(page[0x1f1:0x26c]) // the rest of the header is the file's
		}
		for off, b := range page {
			if b != 0 {
				t.Errorf("%s: byte %#x of the zero page is %#x", name, off, b)
			}
		}
	}
}
