package cpioroot

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/boot"
)

// fuzzMemory leaves about 5 MiB for an archive.
const fuzzMemory = 80 * mib

// unpackInGuest converts a root and, if it is accepted, unpacks it as a guest
// does. Whatever it was, nothing may get out of newRoot or lost on the way.
func unpackInGuest(t *testing.T, root []byte, initramfs string) error {
	t.Helper()
	var out bytes.Buffer
	needs, err := convert(t.Context(), bytes.NewReader(root), initramfs, &out, fuzzMemory)
	if out.Len() > fuzzMemory {
		t.Fatalf("%d bytes of output", out.Len())
	}
	if err != nil {
		return err
	}
	if needs > fuzzMemory {
		t.Errorf("it needs %d bytes and was accepted", needs)
	}
	g := newGuest()
	for out.Len() > 0 {
		r := boot.NewCPIOReader(&out, boot.CPIOLimits{Entries: maxEntries, Bytes: math.MaxInt64})
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("the output is no archive: %v", err)
			}
			if h.Name != newRoot && !strings.HasPrefix(h.Name, newRoot+"/") {
				t.Errorf("the name %q is not below %s", h.Name, newRoot)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatalf("the output is no archive: %v", err)
			}
			g.unpack(h, string(content))
		}
		g.endArchive()
	}
	if g.escaped() {
		t.Error("something outside of the root was touched")
	}
	if len(g.lost) > 0 {
		t.Errorf("the kernel would lose %v", g.lost)
	}
	return nil
}

// FuzzPrepare takes bytes as a file and as what is in one.
func FuzzPrepare(f *testing.F) {
	tree := whole(
		entry{name: ".", mode: dir}, entry{name: "./a/b", mode: file, content: "x", inode: 3, links: 2}, entry{name: "c", mode: file, inode: 3, links: 2},
		entry{name: "l", mode: link, content: "/init"}, entry{name: "n", mode: boot.ModeChar},
	)
	f.Add(tree)
	f.Add(slices.Concat(tree, make([]byte, 100), tree))
	f.Add(bytes.ReplaceAll(tree, []byte("070701"), []byte("070702")))
	f.Add(packed(f, tree))
	f.Add(append(packed(f, tree), packed(f, trailer)...))
	f.Add(whole(entry{name: "l", mode: link, content: "/"}, entry{name: "l/init", mode: file}))
	f.Add(newc(entry{name: "a", mode: file, size: 1 << 31}))
	initramfs := place(f, "none", nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = unpackInGuest(t, b, initramfs)
		_ = unpackInGuest(t, packed(t, b), initramfs)
	})
}

// FuzzTrees makes archives of few names, so that entries meet: four bytes are
// an entry, or the end of an archive.
func FuzzTrees(f *testing.F) {
	names := []string{".", "a", "b", "a/a", "a/b", "b/a", "a/b/a", "./b/"}
	kinds := []uint32{boot.ModeRegular, boot.ModeDir, boot.ModeSymlink, boot.ModeChar, boot.ModeFIFO}
	targets := []string{"/", "/init", "..", "a", "../init", "b", "../..", "/newroot/a"}
	f.Add([]byte{1, 0, 1, 0, 1, 2, 0, 1, 2, 0, 1, 0}) // a hard link to what became a symbolic link
	f.Add([]byte{1, 2, 0, 0, 3, 0, 0, 0})
	f.Add([]byte{1, 0, 1, 0, 0, 9, 0, 0, 1, 2, 0, 1, 2, 0, 1, 0})
	f.Add([]byte{3, 0, 0, 0, 1, 1, 0, 0, 1, 2, 0, 0})
	initramfs := place(f, "none", nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		var cpio []byte
		for c := range slices.Chunk(b[:len(b)&^3], 4) {
			if int(c[1]) >= len(kinds) {
				cpio = append(cpio, trailer...)
				continue
			}
			e := entry{name: names[c[0]%8], mode: kinds[c[1]], inode: uint32(c[2] >> 1 % 4), links: uint32(c[2]&1 + 1)}
			if e.mode == boot.ModeSymlink {
				e.content = targets[c[3]%8]
			}
			cpio = append(cpio, newc(e)...)
		}
		_ = unpackInGuest(t, packed(t, append(cpio, trailer...)), initramfs)
	})
}
