package cpioroot

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/boot"
)

func TestPrepareMovesNamesBelowNewRoot(t *testing.T) {
	for name, tt := range map[string]struct {
		cpio []byte
		want string
	}{
		"every kind": {
			whole(
				entry{name: ".", mode: boot.ModeDir | 0o1700},
				entry{name: "bin", mode: dir},
				entry{name: "bin/su", mode: boot.ModeRegular | 0o4755, content: "#!"},
				entry{name: "lib", mode: link, content: "/usr/../../init"},
				entry{name: "null", mode: boot.ModeChar | 0o666},
				entry{name: "disk", mode: boot.ModeBlock | 0o600},
				entry{name: "pipe", mode: boot.ModeFIFO | 0o600},
				entry{name: "sock", mode: boot.ModeSocket | 0o600},
				entry{name: "init", mode: file, content: "theirs"},
			),
			`newroot 41700 ""
newroot/bin 40755 ""
newroot/bin/su 104755 "#!"
newroot/lib 120777 "/usr/../../init"
newroot/null 20666 ""
newroot/disk 60600 ""
newroot/pipe 10600 ""
newroot/sock 140600 ""
newroot/init 100644 "theirs"
--
`,
		},
		"nothing": {trailer, "--\n"},
		"names of all spellings": {
			whole(entry{name: "/", mode: dir}, entry{name: "/a", mode: dir}, entry{name: "./a//b/.", mode: file}, entry{name: "./TRAILER!!!", mode: file}),
			"newroot 40755 \"\"\nnewroot/a 40755 \"\"\nnewroot/a/b 100644 \"\"\nnewroot/TRAILER!!! 100644 \"\"\n--\n",
		},
		"directories that come late or never": {
			whole(entry{name: "a/b/c", mode: file}, entry{name: "a/b/d", mode: file}, entry{name: "a/b", mode: boot.ModeDir | 0o700}),
			"newroot/a 40755 \"\"\nnewroot/a/b 40755 \"\"\nnewroot/a/b/c 100644 \"\"\nnewroot/a/b/d 100644 \"\"\nnewroot/a/b 40700 \"\"\n--\n",
		},
		"the later one wins": {
			whole(entry{name: "a", mode: file, content: "1"}, entry{name: "a", mode: link, content: "b"}, entry{name: "a", mode: dir}, entry{name: "a/x", mode: file}),
			"newroot/a 100644 \"1\"\nnewroot/a 120777 \"b\"\nnewroot/a 40755 \"\"\nnewroot/a/x 100644 \"\"\n--\n",
		},
		"several archives": {
			slices.Concat(whole(entry{name: "a", mode: file}), make([]byte, 512), whole(entry{name: "b", mode: file}), trailer, make([]byte, 99)),
			"newroot/a 100644 \"\"\n--\nnewroot/b 100644 \"\"\n--\n--\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := list(prepared(t, tt.cpio)); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestPrepareKeepsWhatHeadersSay(t *testing.T) {
	got := prepared(t, whole(entry{name: "null", mode: boot.ModeChar | 0o666}))[0][0]
	want := boot.CPIOHeader{
		Name: "newroot/null", Mode: boot.ModeChar | 0o666, UID: 7, GID: 8, MTime: 12345,
		RDevMajor: 1, RDevMinor: 5, Links: 1, Inode: 1,
	}
	if got.CPIOHeader != want {
		t.Errorf("got %+v, want %+v", got.CPIOHeader, want)
	}
}

// TestPrepareKeepsHardLinks has one inode in two archives, which the kernel must
// not join, and of two types.
func TestPrepareKeepsHardLinks(t *testing.T) {
	one := whole(
		entry{name: "x", mode: file, inode: 90, links: 2},
		entry{name: "a", mode: file, inode: 70, links: 2},
		entry{name: "null", mode: boot.ModeChar, inode: 70, links: 2},
		entry{name: "d", mode: dir, inode: 5, links: 9},
		entry{name: "b", mode: file, inode: 70, links: 2, content: "data"},
	)
	archives := prepared(t, slices.Concat(one, whole(entry{name: "c", mode: file, inode: 70, links: 2, content: "other"})))
	type linked struct {
		name         string
		inode, links uint32
		content      string
	}
	var got []linked
	for _, e := range slices.Concat(archives...) {
		if e.Links > 1 {
			got = append(got, linked{e.Name, e.Inode, e.Links, e.content})
		}
	}
	want := []linked{{"newroot/x", 1, 2, ""}, {"newroot/a", 2, 2, ""}, {"newroot/null", 3, 2, ""}, {"newroot/b", 2, 2, "data"}, {"newroot/c", 1, 2, "other"}}
	if !slices.Equal(got, want) || len(archives) != 2 {
		t.Errorf("got %v in %d archives, want %v in 2", got, len(archives), want)
	}
}

// TestPrepareLongNames goes up to what the kernel takes.
func TestPrepareLongNames(t *testing.T) {
	name := strings.Repeat(strings.Repeat("d", 100)+"/", 40) + strings.Repeat("f", maxPath-40*101)
	got := prepared(t, whole(entry{name: name, mode: file}, entry{name: strings.Repeat("c", maxName), mode: file}))[0]
	if n := len(got); n != 42 || got[40].Name != "newroot/"+name || len(got[40].Name) != 4095 {
		t.Errorf("%d entries", n)
	}
}

func TestPrepareGzipMembers(t *testing.T) {
	cpio := whole(entry{name: "a", mode: file, content: "one"}, entry{name: "b", mode: file, content: "two"})
	root := slices.Concat(packed(t, cpio[:150]), packed(t, nil), packed(t, cpio[150:]), make([]byte, 1000))
	path, err := Prepare(t.Context(), place(t, "root.gz", root), testInitramfs(t), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list(read(t, path)), "newroot/a 100644 \"one\"\nnewroot/b 100644 \"two\"\n--\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestPrepareAgainstGNU packs a tree with the reference tool in both of its
// formats, and has it list what became of the tree.
func TestPrepareAgainstGNU(t *testing.T) {
	gnu, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(tree, "bin/sh"), bytes.Repeat([]byte("\xff shell"), 9999), 0o755), //nolint:gosec // a program
		os.Link(filepath.Join(tree, "bin/sh"), filepath.Join(tree, "bin/ls")),
		os.Symlink("sh", filepath.Join(tree, "bin/bash")),
		os.WriteFile(filepath.Join(tree, "empty"), nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range []string{"newc", "crc"} {
		pack := exec.Command(gnu, "-o", "-H", format, "--quiet")
		pack.Dir, pack.Stdin = tree, strings.NewReader(".\nempty\nbin/bash\nbin\nbin/sh\nbin/ls\n")
		packedTree, err := pack.Output()
		if err != nil {
			t.Fatal(err)
		}
		path, err := Prepare(t.Context(), place(t, "root.gz", packed(t, packedTree)), place(t, "none", nil), options(t))
		if err != nil {
			t.Fatal(err)
		}
		archive, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list := exec.Command(gnu, "-it", "--quiet")
		list.Stdin = bytes.NewReader(archive)
		got, err := list.CombinedOutput()
		if want := "newroot\nnewroot/empty\nnewroot/bin\nnewroot/bin/bash\nnewroot/bin\nnewroot/bin/sh\nnewroot/bin/ls\n"; !sameLines(string(got), want) || err != nil {
			t.Errorf("%s: cpio says %q, %v", format, got, err)
		}
		out := t.TempDir()
		unpack := exec.Command(gnu, "-id", "--quiet")
		unpack.Dir, unpack.Stdin = out, bytes.NewReader(archive)
		if msg, err := unpack.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, msg)
		}
		a, _ := os.Stat(filepath.Join(out, "newroot/bin/sh"))
		b, _ := os.Stat(filepath.Join(out, "newroot/bin/ls"))
		if !os.SameFile(a, b) || a.Size() != 7*9999 {
			t.Errorf("%s: hard links became %v and %v", format, a, b)
		}
	}
}

// sameLines compares without regard to order: cpio names a file with several
// links when it has them all.
func sameLines(a, b string) bool {
	return slices.Equal(slices.Sorted(strings.Lines(a)), slices.Sorted(strings.Lines(b)))
}
