package boot

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var noLimits = CPIOLimits{Entries: 1000, Bytes: 1 << 20}

type entry struct {
	CPIOHeader
	content string
}

func writeAll(t testing.TB, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewCPIOWriter(&buf)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.Write(e.CPIOHeader, strings.NewReader(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func readAll(b []byte, limits CPIOLimits) (entries []entry, err error) {
	r := NewCPIOReader(bytes.NewReader(b), limits)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return entries, err
		}
		entries = append(entries, entry{h, string(content)})
	}
}

var tree = []entry{
	{CPIOHeader{Name: "dev", Mode: ModeDir | 0o755}, ""},
	{CPIOHeader{Name: "dev/console", Mode: ModeChar | 0o600, RDevMajor: 5, RDevMinor: 1}, ""},
	{CPIOHeader{Name: "init", Mode: ModeRegular | 0o755}, "#!/bin/true\n"},
	{CPIOHeader{Name: "one", Mode: ModeRegular | 0o644, UID: 7, GID: 8}, "1"},
	{CPIOHeader{Name: "link", Mode: ModeSymlink | 0o777}, "one"},
	{CPIOHeader{Name: "empty", Mode: ModeRegular | 0o4755}, ""},
}

func TestCPIORoundTrip(t *testing.T) {
	archive := writeAll(t, tree)
	if len(archive)%4 != 0 {
		t.Errorf("the archive has %d bytes, not a multiple of 4", len(archive))
	}
	if !bytes.Equal(archive, writeAll(t, tree)) {
		t.Error("the same entries gave different bytes")
	}
	got, err := readAll(archive, noLimits)
	if err != nil || len(got) != len(tree) {
		t.Fatalf("read %d entries, %v", len(got), err)
	}
	for i, want := range tree {
		want.Size, want.Inode, want.Links = int64(len(want.content)), uint32(i+1), 1
		if got[i] != want {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}
}

func TestCPIOHardLinks(t *testing.T) {
	linked := []entry{
		{CPIOHeader{Name: "a", Mode: ModeRegular | 0o644, Inode: 9, Links: 2}, ""},
		{CPIOHeader{Name: "b", Mode: ModeRegular | 0o644, Inode: 9, Links: 2, MTime: 1700000000}, "content"},
	}
	got, err := readAll(writeAll(t, linked), noLimits)
	if err != nil || len(got) != 2 {
		t.Fatalf("read %+v, %v", got, err)
	}
	for i, want := range linked {
		want.Size = int64(len(want.content))
		if got[i] != want {
			t.Errorf("got %+v, want %+v", got[i], want)
		}
	}
}

func TestCPIOEntrySize(t *testing.T) {
	archive := len(writeAll(t, nil))
	if archive != CPIOTrailerSize {
		t.Errorf("the end takes %d bytes, not %d", archive, CPIOTrailerSize)
	}
	for i, e := range tree {
		e.Size = int64(len(e.content))
		whole := len(writeAll(t, tree[:i+1]))
		if got := int64(whole - archive); CPIOEntrySize(e.CPIOHeader) != got {
			t.Errorf("%s takes %d bytes, not %d", e.Name, got, CPIOEntrySize(e.CPIOHeader))
		}
		archive = whole
	}
}

// TestCPIOChecksum has an archive with checksums: of a file that is right or
// wrong, and of a symbolic link and of an empty file, which have none.
func TestCPIOChecksum(t *testing.T) {
	archive := func(sum uint32) []byte {
		b := slices.Concat(rawEntry("link\x00", ModeSymlink, 2, "to"), rawEntry("empty\x00", ModeRegular, 0, ""), rawEntry("file\x00", ModeRegular, 3, "\xff\xff\x01"))
		b = bytes.ReplaceAll(b, []byte(cpioMagic), []byte(cpioMagicSum))
		copy(b[len(b)-len("file\x00.")-len("...\x00")-8:], fmt.Sprintf("%08X", sum))
		return append(b, writeAll(t, nil)...)
	}
	if got, err := readAll(archive(0x1ff), noLimits); err != nil || len(got) != 3 || got[2].content != "\xff\xff\x01" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := readAll(archive(0x1fe), noLimits); err == nil || len(got) != 2 {
		t.Errorf("wrong, but got %+v, %v", got, err)
	}
	// Nobody reads the content.
	r := NewCPIOReader(bytes.NewReader(archive(0x1fe)), noLimits)
	var err error
	for range 4 {
		_, err = r.Next()
	}
	if err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("skipped, and got %v", err)
	}
}

// TestCPIOAgainstGNU reads our archive with the reference tool.
func TestCPIOAgainstGNU(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	cmd := exec.Command(cpio, "-it", "--quiet")
	cmd.Stdin = bytes.NewReader(writeAll(t, tree))
	out, err := cmd.CombinedOutput()
	if want := "dev\ndev/console\ninit\none\nlink\nempty\n"; string(out) != want || err != nil {
		t.Errorf("cpio says %q, %v", out, err)
	}
}

// rawEntry is an entry as nobody's writer makes it.
func rawEntry(name string, mode, size uint32, content string) []byte {
	b := []byte(cpioMagic)
	for _, f := range []uint32{1, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, uint32(len(name)), 0} {
		b = fmt.Appendf(b, "%08X", f)
	}
	b = append(b, name...)
	b = append(b, make([]byte, pad4(int64(len(b))))...)
	b = append(b, content...)
	return append(b, make([]byte, pad4(int64(len(b))))...)
}

func TestCPIOReaderNames(t *testing.T) {
	for in, want := range map[string]string{".": ".", "/": ".", "./a": "a", "/a//b/.": "a/b", "a..b/..c": "a..b/..c"} {
		b := append(rawEntry(in+"\x00", ModeDir|0o755, 0, ""), writeAll(t, nil)...)
		got, err := readAll(b, noLimits)
		if err != nil || len(got) != 1 || got[0].Name != want {
			t.Errorf("%q: got %+v, %v, want %q", in, got, err, want)
		}
	}
}

func TestCPIOReaderRefuses(t *testing.T) {
	const file = ModeRegular | 0o644
	whole := writeAll(t, tree)
	broken := bytes.Clone(whole)
	broken[20] = 'x'
	for name, tt := range map[string]struct {
		b      []byte
		limits CPIOLimits
	}{
		"empty":                 {nil, noLimits},
		"another format":        {[]byte("070707" + strings.Repeat("0", 200)), noLimits},
		"no number":             {broken, noLimits},
		"no trailer":            {rawEntry("a\x00", file, 0, ""), noLimits},
		"cut content":           {rawEntry("a\x00", file, 100, "short"), noLimits},
		"cut header":            {whole[:cpioHeaderLen-1], noLimits},
		"cut name":              {whole[:cpioHeaderLen+1], noLimits},
		"climbs":                {rawEntry("a/../../b\x00", file, 0, ""), noLimits},
		"dotdot":                {rawEntry("..\x00", file, 0, ""), noLimits},
		"NUL in name":           {rawEntry("a\x00b\x00", file, 0, ""), noLimits},
		"name without end":      {rawEntry("ab", file, 0, ""), noLimits},
		"no name":               {rawEntry("\x00", file, 0, ""), noLimits},
		"long name":             {rawEntry(strings.Repeat("a", cpioMaxName+1)+"\x00", file, 0, ""), noLimits},
		"directory with bytes":  {rawEntry("a\x00", ModeDir, 1, "x"), noLimits},
		"link to nothing":       {rawEntry("a\x00", ModeSymlink, 0, ""), noLimits},
		"unknown type":          {rawEntry("a\x00", 0, 0, ""), noLimits},
		"too many entries":      {whole, CPIOLimits{Entries: len(tree) - 1, Bytes: 1 << 20}},
		"too many bytes":        {whole, CPIOLimits{Entries: 100, Bytes: 10}},
		"size beyond the limit": {rawEntry("a\x00", file, 1<<32-1, ""), noLimits},
	} {
		if got, err := readAll(tt.b, tt.limits); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func TestCPIOWriterRefuses(t *testing.T) {
	for name, h := range map[string]CPIOHeader{
		"climbing name":   {Name: "../x"},
		"no name":         {},
		"trailer":         {Name: cpioTrailer},
		"size too large":  {Name: "x", Size: 1 << 32},
		"content missing": {Name: "x", Size: 3},
	} {
		if err := NewCPIOWriter(io.Discard).Write(h, strings.NewReader("")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
