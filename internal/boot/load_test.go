package boot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/boot/boottest"
	"github.com/holtvm/holt/internal/guestmem"
)

// pcMap is the memory map of a machine with size bytes of memory.
func pcMap(size uint64) []E820Entry {
	m := []E820Entry{
		{0, 0x9fc00, E820RAM},
		{0xe0000, 0x20000, E820ACPI},
		{mib, min(size, lowRAMEnd) - mib, E820RAM},
	}
	if size > lowRAMEnd {
		m = append(m, E820Entry{4 << 30, size - lowRAMEnd, E820RAM})
	}
	return m
}

// fresh is the memory of such a machine. Nothing of it is used until it is
// touched.
func fresh(t testing.TB, size uint64) *guestmem.Memory {
	t.Helper()
	regions := []guestmem.Region{{Size: min(size, lowRAMEnd)}}
	if size > lowRAMEnd {
		regions = append(regions, guestmem.Region{GuestAddr: 4 << 30, Size: size - lowRAMEnd})
	}
	mem, err := guestmem.Map(regions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return mem
}

func bytesAt(t testing.TB, mem Memory, addr, n uint64) []byte {
	t.Helper()
	b, err := mem.Slice(addr, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func save(t testing.TB, b []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, b []byte) *Image {
	t.Helper()
	img, err := OpenImage(save(t, b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// part is a segment to put into a kernel file.
type part struct {
	vaddr, paddr, memsz uint64
	content             []byte
}

// elfFile is an ELF kernel of these parts.
func elfFile(entry uint64, parts ...part) []byte {
	var b bytes.Buffer
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: entry,
		Phoff: elfHeaderSize, Ehsize: elfHeaderSize, Phentsize: elfProgramHeaderSize, Phnum: uint16(len(parts)),
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	_ = binary.Write(&b, binary.LittleEndian, h)
	off := uint64(elfHeaderSize + elfProgramHeaderSize*len(parts))
	for _, p := range parts {
		size := uint64(len(p.content))
		_ = binary.Write(&b, binary.LittleEndian, elf.Prog64{
			Type: uint32(elf.PT_LOAD), Off: off, Vaddr: p.vaddr, Paddr: p.paddr, Filesz: size, Memsz: p.memsz,
		})
		off += size
	}
	for _, p := range parts {
		b.Write(p.content)
	}
	return b.Bytes()
}

// noise is n bytes that are the same nowhere else.
func noise(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>16)*31 ^ byte(i>>8)*7 ^ byte(i) + seed
	}
	return b
}

// linuxLike has the segments of a kernel: the virtual addresses of the second
// start at 0, and the last has a BSS.
func linuxLike(text int) (file []byte, parts []part) {
	parts = []part{
		{0xffffffff81000000, 0x1000000, uint64(text), noise(text, 1)},
		{0, 0x1c00000, 0x3000, noise(0x3000, 2)},
		{0xffffffff81c03000, 0x1c03000, 0x205000, noise(0x5000, 3)},
	}
	return elfFile(0x1000000, parts...), parts
}

func TestLoadELF(t *testing.T) {
	file, parts := linuxLike(5<<20 + 123)
	initramfs := noise(3<<20+5, 4)
	const size = 64 * mib
	mem := fresh(t, size)
	entry, err := Load(mem, Params{
		Image: open(t, file), Initramfs: save(t, initramfs), Cmdline: "quiet panic=-1", E820: pcMap(size), RSDP: 0xe0000,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Entry{RIP: 0x1000000, RSI: 0x7000, RSP: 0x8ff0, CR3: 0x9000, GDT: 0x500, GDTLimit: 31}
	if entry != want {
		t.Errorf("entry %+v, want %+v", entry, want)
	}
	for i, p := range parts {
		if !bytes.Equal(bytesAt(t, mem, p.paddr, uint64(len(p.content))), p.content) {
			t.Errorf("segment %d is not in memory as it is in the file", i)
		}
	}
	bss := bytesAt(t, mem, 0x1c08000, 0x200000)
	if slices.ContainsFunc(bss, func(b byte) bool { return b != 0 }) {
		t.Error("the BSS is not zero")
	}
	page := bytesAt(t, mem, ZeroPageAddr, 4096)
	le := binary.LittleEndian
	addr := uint64(le.Uint32(page[0x218:]))
	if addr != size-0x301000 || le.Uint32(page[0x21c:]) != 3<<20+5 {
		t.Errorf("initramfs of %d bytes at %#x", le.Uint32(page[0x21c:]), addr)
	}
	if !bytes.Equal(bytesAt(t, mem, addr, uint64(len(initramfs))), initramfs) {
		t.Error("the initramfs is not in memory as it is in the file")
	}
	if got := bytesAt(t, mem, CmdlineAddr, 15); string(got) != "quiet panic=-1\x00" {
		t.Errorf("command line %q", got)
	}
}

func TestLoadBzImage(t *testing.T) {
	payload := noise(100_000, 5)
	file := boottest.BzImage(release, payload)
	const size = 64 * mib
	mem := fresh(t, size)
	entry, err := Load(mem, Params{Image: open(t, file), Cmdline: "x", E820: pcMap(size)})
	if err != nil {
		t.Fatal(err)
	}
	if entry.RIP != boottest.LoadAddr+0x200 {
		t.Errorf("entry at %#x", entry.RIP)
	}
	protected := file[5*512:]
	if !bytes.Equal(bytesAt(t, mem, boottest.LoadAddr, uint64(len(protected))), protected) {
		t.Error("the protected-mode code is not in memory as it is in the file")
	}
	page := bytesAt(t, mem, ZeroPageAddr, 4096)
	if !bytes.Equal(page[0x230:0x26c], file[0x230:0x26c]) {
		t.Error("the setup header's end is not that of the file")
	}
	// The header ends at 0x202 + the byte at 0x201, and what follows is not its.
	if slices.ContainsFunc(page[0x26c:0x2d0], func(b byte) bool { return b != 0 }) {
		t.Error("the zero page has more of the file than the setup header")
	}
}

// TestLoadRelatesEntryToItsSegment has an entry point as other systems than
// Linux link it.
func TestLoadRelatesEntryToItsSegment(t *testing.T) {
	text := part{0xffffffff80200000, 0x200000, 0x1000, make([]byte, 0x1000)}
	for _, tt := range []struct{ entry, want uint64 }{
		{0x200010, 0x200010},
		{0xffffffff80200020, 0x200020},
		{0xffffffff80200fff, 0x200fff},
	} {
		entry, err := Load(fresh(t, 8*mib), Params{Image: open(t, elfFile(tt.entry, text)), E820: pcMap(8 * mib)})
		if err != nil || entry.RIP != tt.want {
			t.Errorf("entry %#x became %#x, %v, want %#x", tt.entry, entry.RIP, err, tt.want)
		}
	}
	for _, entry := range []uint64{0, 0x201000, 0xffffffff80201000} {
		if _, err := OpenImage(save(t, elfFile(entry, text))); !errors.Is(err, ErrNotKernel) {
			t.Errorf("entry %#x: got %v, want ErrNotKernel", entry, err)
		}
	}
}

func TestInitramfsStaysBelowTheDevices(t *testing.T) {
	file, _ := linuxLike(1 << 20)
	initramfs := noise(1<<20+1, 6)
	const size = 5 << 30
	for name, tt := range map[string]struct {
		kernel []byte
		want   uint64
	}{
		"vmlinux": {file, 3<<30 - 0x101000},
		"bzImage": {boottest.BzImage(release, []byte("payload")), 2<<30 - 0x101000}, // its initrd_addr_max
	} {
		mem := fresh(t, size)
		if _, err := Load(mem, Params{Image: open(t, tt.kernel), Initramfs: save(t, initramfs), E820: pcMap(size)}); err != nil {
			t.Fatal(err)
		}
		got := uint64(binary.LittleEndian.Uint32(bytesAt(t, mem, ZeroPageAddr+0x218, 4)))
		if got != tt.want || !bytes.Equal(bytesAt(t, mem, got, 1<<20+1), initramfs) {
			t.Errorf("%s: initramfs at %#x, want %#x", name, got, tt.want)
		}
	}
}

// TestLoadSaysHowMuchMemory believes the error, and the error is right.
func TestLoadSaysHowMuchMemory(t *testing.T) {
	vmlinux, _ := linuxLike(1 << 20)
	for name, kernel := range map[string][]byte{"vmlinux": vmlinux, "bzImage": boottest.BzImage(release, []byte("payload"))} {
		for _, initramfs := range []int{0, 1, 7 << 20} {
			img, path := open(t, kernel), save(t, make([]byte, initramfs))
			try := func(size uint64) error {
				_, err := Load(fresh(t, size), Params{Image: img, Initramfs: path, E820: pcMap(size)})
				return err
			}
			var need uint64
			_, err := fmt.Sscanf(fmt.Sprint(try(4*mib)), "load kernel: 4 MiB of memory are too little for this kernel: it needs at least %d MiB", &need)
			if err != nil {
				t.Fatalf("%s: the error for 4 MiB is %v", name, try(4*mib))
			}
			if err := try(need * mib); err != nil {
				t.Errorf("%s: with the %d MiB that it needs: %v", name, need, err)
			}
			if err := try((need - 1) * mib); err == nil {
				t.Errorf("%s: it needs %d MiB and loads with one less", name, need)
			}
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	page := make([]byte, pageSize)
	text := part{0, 0x200000, 0x1000, page}
	with := func(more ...part) []byte { return elfFile(0x200000, append([]part{text}, more...)...) }
	hole := []E820Entry{{0, 0x9fc00, E820RAM}, {mib, 7 * mib, E820RAM}, {0xa00000, 6 * mib, E820RAM}}
	for name, tt := range map[string]struct {
		kernel    []byte
		cmdline   string
		initramfs int
		e820      []E820Entry
		want      string
	}{
		"below 1 MiB":          {kernel: with(part{0, mib - 0x1000, 0x1000, page}), want: "below 1 MiB"},
		"over the zero page":   {kernel: with(part{0, ZeroPageAddr, 0x1000, page}), want: "below 1 MiB"},
		"segments overlap":     {kernel: with(part{0, 0x200fff, 1, nil}), want: "overlaps another"},
		"BSS overlaps":         {kernel: with(part{0, 0x1ff000, 0x1001, nil}), want: "overlaps another"},
		"same twice":           {kernel: with(text), want: "overlaps another"},
		"BSS past the end":     {kernel: with(part{0, 0xfff000, 0x1001, nil}), want: "needs at least 17 MiB"},
		"above the devices":    {kernel: with(part{0, 4 << 30, 1, nil}), want: "do not fit below 3072 MiB"},
		"end of all addresses": {kernel: with(part{0, 1<<64 - 2, 1, nil}), want: "do not fit below 3072 MiB"},
		"in a hole":            {kernel: with(part{0, 0x7ff000, 0x1001, nil}), e820: hole, want: "are not all in RAM"},
		"spans a hole":         {kernel: with(part{0, 0x7ff000, 0x400000, nil}), e820: hole, want: "are not all in RAM"},
		"long command line":    {kernel: with(), cmdline: strings.Repeat("a", MaxCmdline+1), want: "2048 bytes, at most 2047"},
		"NUL in command line":  {kernel: with(), cmdline: "a\x00b", want: "without a NUL"},
		"map overlaps":         {kernel: with(), e820: append(pcMap(16*mib), E820Entry{0x9f000, 0x1000, E820Reserved}), want: "memory map"},
		"map wraps":            {kernel: with(), e820: append(pcMap(16*mib), E820Entry{1 << 63, 1 << 63, E820Reserved}), want: "memory map"},
		"map entry empty":      {kernel: with(), e820: append(pcMap(16*mib), E820Entry{1 << 63, 0, E820Reserved}), want: "memory map"},
		"map too long":         {kernel: with(), e820: slices.Repeat(pcMap(16*mib), 43), want: "129 entries"},
		"no low memory":        {kernel: with(), e820: pcMap(16 * mib)[1:], want: "GDT"},
		"map of more":          {kernel: with(), e820: pcMap(32 * mib), initramfs: 1, want: "outside guest memory"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.e820 == nil {
				tt.e820 = pcMap(16 * mib)
			}
			p := Params{Image: open(t, tt.kernel), Cmdline: tt.cmdline, E820: tt.e820, Initramfs: save(t, make([]byte, tt.initramfs))}
			entry, err := Load(fresh(t, 16*mib), p)
			if err == nil || !strings.Contains(err.Error(), tt.want) || entry != (Entry{}) {
				t.Errorf("got %+v, %v, want %q", entry, err, tt.want)
			}
		})
	}
}

// TestLoadNoticesShrinkingFile cuts a file between its parsing and its reading.
func TestLoadNoticesShrinkingFile(t *testing.T) {
	file, _ := linuxLike(1 << 20)
	path := save(t, file)
	img, err := OpenImage(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if err := os.Truncate(path, 1<<19); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(fresh(t, 64*mib), Params{Image: img, E820: pcMap(64 * mib)}); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v", err)
	}
}
