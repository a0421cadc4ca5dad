package fsserver

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// list reads a directory from an offset until its end or until max entries.
func (c *client) list(op uint32, node, fh, off uint64, size uint32, limit int) (entries []fuse.DirEntry, outs []fuse.EntryOut) {
	c.Helper()
	for len(entries) < limit {
		reply := c.must(op, node, readArgs{Fh: fh, Off: off, Size: size})
		if len(reply) == 0 {
			break
		}
		if len(reply) > int(size) {
			c.Fatalf("%d bytes of reply, asked for %d", len(reply), size)
		}
		var some []fuse.DirEntry
		var someOuts []fuse.EntryOut
		var err error
		if op == opReaddirplus {
			some, someOuts, err = fuse.ParseDirLookupEntries(reply)
		} else {
			some, err = fuse.ParseDirEntries(reply)
		}
		if err != nil {
			c.Fatal(err)
		}
		entries, outs = append(entries, some...), append(outs, someOuts...)
		off = some[len(some)-1].Off
	}
	return entries, outs
}

func (c *client) opendir(node uint64) uint64 {
	c.Helper()
	var out fuse.OpenOut
	decode(c, c.must(opOpendir, node, openArgs{}), &out)
	return out.Fh
}

func names(entries []fuse.DirEntry) []string {
	var s []string
	for _, e := range entries {
		s = append(s, e.Name)
	}
	slices.Sort(s)
	return s
}

func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	want := []string{".", ".."}
	for i := range 700 {
		name := fmt.Sprintf("%d%s", i, strings.Repeat("n", i*7%250))
		want = append(want, name)
		switch i % 3 {
		case 0:
			writeFile(t, dir+"/"+name, name)
		case 1:
			os.Mkdir(dir+"/"+name, 0o755)
		case 2:
			os.Symlink(name, dir+"/"+name)
		}
	}
	slices.Sort(want)
	c := newClient(t, dir, Options{})
	fh := c.opendir(rootNode)
	for _, op := range []uint32{opReaddir, opReaddirplus} {
		for _, size := range []uint32{512, 1024, 4096, 5000, 64 << 10} {
			entries, outs := c.list(op, rootNode, fh, 0, size, 1<<20)
			if got := names(entries); !slices.Equal(got, want) {
				t.Fatalf("opcode %d, %d bytes: %d names, want %d", op, size, len(got), len(want))
			}
			for i, out := range outs {
				e := entries[i]
				if dots := e.Name == "." || e.Name == ".."; dots != (out.NodeId == 0) {
					t.Errorf("%q has node %d", e.Name, out.NodeId)
				} else if !dots && (out.Mode&syscall.S_IFMT != e.Mode || out.Ino != e.Ino) {
					t.Errorf("%q: entry says %o %d, attributes %o %d", e.Name, e.Mode, e.Ino, out.Mode, out.Ino)
				}
			}
		}
	}
	all, _ := c.list(opReaddir, rootNode, fh, 0, 4096, 1<<20)
	for _, from := range []int{0, 1, 350, len(all) - 1} {
		rest, _ := c.list(opReaddirplus, rootNode, fh, all[from].Off, 4096, 1<<20)
		if len(rest) != len(all)-from-1 || len(rest) > 0 && rest[0].Name != all[from+1].Name {
			t.Errorf("from entry %d: %d more", from, len(rest))
		}
	}
	root := c.getattr(rootNode).Ino
	for _, e := range all {
		if e.Name == ".." && e.Ino != root {
			t.Errorf("the root's parent shows as %d", e.Ino)
		}
	}
	// Each READDIRPLUS entry is a lookup to be forgotten.
	known := c.fs.inodes.size()
	entries, outs := c.list(opReaddirplus, rootNode, fh, 0, 4096, 1<<20)
	for i := range entries {
		c.call(opForget, outs[i].NodeId, struct{ N uint64 }{1 << 40})
	}
	if got := c.fs.inodes.size(); known < 700 || got != 1 {
		t.Errorf("%d inodes, then %d", known, got)
	}
	c.must(opFsyncdir, rootNode, fsyncArgs{Fh: fh})
	c.must(opReleasedir, rootNode, releaseArgs{Fh: fh})
}

func TestReadDirSeesChanges(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, dir, Options{})
	fh := c.opendir(rootNode)
	c.list(opReaddir, rootNode, fh, 0, 4096, 1<<20)
	writeFile(t, dir+"/new", "")
	entries, _ := c.list(opReaddir, rootNode, fh, 0, 4096, 1<<20)
	if got := names(entries); !slices.Equal(got, []string{".", "..", "new"}) {
		t.Errorf("after rewinding: %v", got)
	}
}

func TestReadDirHostileArguments(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/"+strings.Repeat("n", 255), "")
	c := newClient(t, dir, Options{})
	fh := c.opendir(rootNode)
	for _, op := range []uint32{opReaddir, opReaddirplus} {
		for _, off := range []uint64{1, 77, 1 << 31, 1<<63 - 1, 1 << 63, ^uint64(0)} {
			for _, size := range []uint32{0, 1, 23, 24, 32, 159, 160, 280, 400, 4096} {
				if reply, _ := c.call(op, rootNode, readArgs{Fh: fh, Off: off, Size: size}); len(reply) > int(size) {
					t.Errorf("%d bytes of %d", len(reply), size)
				}
			}
		}
	}
	entries, _ := c.list(opReaddir, rootNode, fh, 0, 4096, 1<<20)
	if len(entries) != 3 {
		t.Errorf("%d entries afterwards", len(entries))
	}
}

// TestOtherDevices checks that files of another file system under the root get
// numbers of their own.
func TestOtherDevices(t *testing.T) {
	fs := &fileSystem{inodes: &inodeTable{root: &inode{key: inodeKey{major: 8, minor: 1}}}}
	seen := map[uint64]string{}
	for name, dev := range map[string][2]uint32{"root": {8, 1}, "disk": {8, 2}, "tmpfs": {0, 40}, "proc": {0, 22}} {
		for _, ino := range []uint64{1, 2, 3, 1 << 20} {
			n := fs.inodeNumber(ino, dev[0], dev[1])
			if other, ok := seen[n]; ok {
				t.Errorf("inode %d of %s has the number of one of %s", ino, name, other)
			}
			seen[n] = name
			if name == "root" && n != ino {
				t.Errorf("inode %d of the root device shows as %d", ino, n)
			}
		}
	}
}
