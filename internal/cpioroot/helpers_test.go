package cpioroot

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/boot"
)

const (
	file = boot.ModeRegular | 0o644
	dir  = boot.ModeDir | 0o755
	link = boot.ModeSymlink | 0o777
)

// entry is an entry of an archive as no careful writer makes it: its name is
// taken as it is.
type entry struct {
	name    string
	mode    uint32
	content string
	inode   uint32
	links   uint32
	size    int64 // if it is not that of the content
}

// newc is an archive of those entries, without its end.
func newc(entries ...entry) []byte {
	var b []byte
	pad := func() { b = append(b, make([]byte, -len(b)&3)...) }
	for _, e := range entries {
		size := int64(len(e.content)) + e.size
		b = append(b, "070701"...)
		for _, f := range []int64{int64(e.inode), int64(e.mode), 7, 8, int64(max(e.links, 1)), 12345, size, 0, 3, 1, 5, int64(len(e.name) + 1), 0} {
			b = fmt.Appendf(b, "%08X", f)
		}
		b = append(append(b, e.name...), 0)
		pad()
		b = append(b, e.content...)
		pad()
	}
	return b
}

var trailer = newc(entry{name: "TRAILER!!!"})

// whole is an archive with its end.
func whole(entries ...entry) []byte { return append(newc(entries...), trailer...) }

func packed(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// place writes a file of its own.
func place(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testInitramfs is one whose length is no multiple of four.
func testInitramfs(t testing.TB) string {
	return place(t, "initramfs.cpio", append(whole(entry{name: "newroot", mode: dir}, entry{name: "init", mode: file, content: "ours"}), 0, 0))
}

// options are for a guest with 512 MiB.
func options(t testing.TB) Options {
	return Options{MemoryBytes: 512 * mib, CacheDir: t.TempDir()}
}

// settle waits until a file that was just written is taken for unchanging.
func settle() { time.Sleep(tick + 20*time.Millisecond) }

// unpacked is an entry of what Prepare made.
type unpacked struct {
	boot.CPIOHeader
	content string
}

// read reads what follows the initramfs in an archive, as the kernel does: all
// archives, with zeros between them.
func read(t testing.TB, path string) (archives [][]unpacked) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(b)
	for {
		next := bytes.IndexFunc(b[len(b)-r.Len():], func(c rune) bool { return c != 0 })
		if next < 0 {
			break
		}
		if _, err := r.Seek(int64(next), io.SeekCurrent); err != nil {
			t.Fatal(err)
		}
		if at := len(b) - r.Len(); at%4 != 0 {
			t.Fatalf("an archive begins at byte %d", at)
		}
		archives = append(archives, readOne(t, r))
	}
	if len(archives) == 0 || archives[0][1].content != "ours" {
		t.Fatal("the initramfs does not come first")
	}
	return archives[1:]
}

func readOne(t testing.TB, r io.Reader) (entries []unpacked) {
	t.Helper()
	archive := boot.NewCPIOReader(r, boot.CPIOLimits{Entries: maxEntries, Bytes: maxArchive})
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, unpacked{h, string(content)})
	}
}

// prepared is what becomes of an archive, which must be accepted.
func prepared(t testing.TB, cpio []byte) [][]unpacked {
	t.Helper()
	path, err := Prepare(t.Context(), place(t, "root.gz", packed(t, cpio)), testInitramfs(t), options(t))
	if err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

// list is the entries' names, types and contents.
func list(archives [][]unpacked) string {
	var b strings.Builder
	for _, entries := range archives {
		for _, e := range entries {
			fmt.Fprintf(&b, "%s %o %q\n", e.Name, e.Mode, e.content)
		}
		b.WriteString("--\n")
	}
	return b.String()
}
