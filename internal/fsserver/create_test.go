package fsserver

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// makers makes one of everything.
var makers = map[string]func(c *client, dir uint64, name string, mode uint32) fuse.EntryOut{
	"create": func(c *client, dir uint64, name string, mode uint32) fuse.EntryOut {
		return c.create(dir, name, syscall.O_RDWR, syscall.S_IFREG|mode).EntryOut
	},
	"mknod": func(c *client, dir uint64, name string, mode uint32) fuse.EntryOut {
		return c.entry(c.must(opMknod, dir, mknodArgs{Mode: syscall.S_IFREG | mode}, name))
	},
	"fifo": func(c *client, dir uint64, name string, mode uint32) fuse.EntryOut {
		return c.entry(c.must(opMknod, dir, mknodArgs{Mode: syscall.S_IFIFO | mode}, name))
	},
	"mkdir": func(c *client, dir uint64, name string, mode uint32) fuse.EntryOut {
		return c.mkdir(dir, name, mode)
	},
	"tmpfile": func(c *client, dir uint64, _ string, mode uint32) (entry fuse.EntryOut) {
		var out fuse.CreateOut
		decode(c, c.must(opTmpfile, dir, createArgs{Flags: syscall.O_RDWR | unix.O_TMPFILE, Mode: mode}, "/"), &out)
		return out.EntryOut
	},
	"symlink": func(c *client, dir uint64, name string, mode uint32) fuse.EntryOut {
		return c.entry(c.must(opSymlink, dir, name, "target"))
	},
}

// TestModes checks that the server's umask does not show.
func TestModes(t *testing.T) {
	for _, mask := range []int{0, 0o077} {
		old := unix.Umask(mask)
		c := newClient(t, t.TempDir(), Options{})
		for kind, makeOne := range makers {
			if kind == "symlink" {
				continue
			}
			for _, mode := range []uint32{0, 0o600, 0o644, 0o755, 0o777, 0o1777, 0o4755, 0o2711} {
				entry := makeOne(c, rootNode, fmt.Sprintf("%s%o", kind, mode), mode)
				if got := entry.Mode & 0o7777; got != mode {
					t.Errorf("umask %o: %s with %o has %o", mask, kind, mode, got)
				}
				if again := c.getattr(entry.NodeId).Mode; again != entry.Mode {
					t.Errorf("umask %o: %s with %o: reply says %o, then %o", mask, kind, mode, entry.Mode, again)
				}
			}
		}
		unix.Umask(old)
	}
}

func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files away")
	}
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain": 0o777, "setgid": 0o777 | os.ModeSetgid} {
		if err := os.Mkdir(dir+"/"+name, 0o777); err != nil {
			t.Fatal(err)
		}
		os.Chown(dir+"/"+name, 7, 77)
		os.Chmod(dir+"/"+name, mode)
	}
	c := newClient(t, dir, Options{})
	for kind, makeOne := range makers {
		for _, test := range []struct {
			parent           string
			uid, gid         uint32
			wantUID, wantGID uint32
		}{
			{"plain", 0, 0, 0, 0},
			{"plain", 1000, 100, 1000, 100},
			{"setgid", 0, 0, 0, 77},
			{"setgid", 1000, 100, 1000, 77},
		} {
			parent := c.lookup(rootNode, test.parent).NodeId
			c.uid, c.gid = test.uid, test.gid
			entry := makeOne(c, parent, fmt.Sprintf("%s-%d", kind, test.uid), 0o4755)
			c.uid, c.gid = 0, 0
			if entry.Uid != test.wantUID || entry.Gid != test.wantGID {
				t.Errorf("%s in %s by %d:%d belongs to %d:%d", kind, test.parent, test.uid, test.gid, entry.Uid, entry.Gid)
			}
			want := uint32(0o4755)
			if kind == "mkdir" && test.parent == "setgid" {
				want = 0o6755
			}
			if kind != "symlink" && entry.Mode&0o7777 != want {
				t.Errorf("%s in %s by %d: mode %o, want %o", kind, test.parent, test.uid, entry.Mode&0o7777, want)
			}
		}
	}
	node := c.create(rootNode, "file", syscall.O_RDWR, 0o644).NodeId
	c.must(opSetattr, node, setattrArgs{Valid: fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_MODE, UID: 5, GID: 6, Mode: 0o4711})
	if got := c.getattr(node); got.Uid != 5 || got.Gid != 6 || got.Mode&0o7777 != 0o4711 {
		t.Errorf("after chown and chmod: %d:%d %o", got.Uid, got.Gid, got.Mode)
	}
	c.must(opSetattr, node, setattrArgs{Valid: fuse.FATTR_GID, GID: 9})
	if got := c.getattr(node); got.Uid != 5 || got.Gid != 9 {
		t.Errorf("after chgrp: %d:%d", got.Uid, got.Gid)
	}
}

func TestCreateOpensExisting(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "content")
	c := newClient(t, dir, Options{})
	file := c.create(rootNode, "file", syscall.O_RDONLY, 0o600)
	if got, errno := c.read(file.NodeId, file.Fh, 0, 100); string(got) != "content" || errno != 0 {
		t.Errorf("read %q, %v", got, errno)
	}
	if _, errno := c.call(opCreate, rootNode, createArgs{Flags: syscall.O_EXCL}, "file"); errno != syscall.EEXIST {
		t.Errorf("exclusive: %v", errno)
	}
	for _, mode := range []uint32{syscall.S_IFDIR | 0o755, syscall.S_IFLNK | 0o777, 0xffffffff} {
		if _, errno := c.call(opMknod, rootNode, mknodArgs{Mode: mode}, "odd"); errno == 0 {
			t.Errorf("mknod with mode %o went well", mode)
		}
	}
}

func TestTmpfileLink(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, dir, Options{})
	var out fuse.CreateOut
	decode(t, c.must(opTmpfile, rootNode, createArgs{Flags: syscall.O_RDWR, Mode: 0o644}, "/"), &out)
	c.write(out.NodeId, out.Fh, 0, []byte("data"))
	c.must(opLink, rootNode, linkArgs{out.NodeId}, "file")
	if got := readFile(t, dir+"/file"); got != "data" {
		t.Errorf("linked file holds %q", got)
	}
}

// TestFileCanBeExecutedOnHost checks that a file which the guest made and closed
// but still remembers is not held open for writing.
func TestFileCanBeExecutedOnHost(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, dir, Options{})
	script, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skip("needs /bin/true to copy")
	}
	file := c.create(rootNode, "program", syscall.O_RDWR, 0o755)
	c.write(file.NodeId, file.Fh, 0, script)
	c.release(file.NodeId, file.Fh)
	if out, err := exec.Command(dir + "/program").CombinedOutput(); err != nil {
		t.Errorf("run it: %v %s", err, out)
	}
}

func TestIDs(t *testing.T) {
	user := newIDs(1000, 100)
	for _, test := range []struct{ uid, gid, wantUID, wantGID uint32 }{
		{1000, 100, 0, 0}, {0, 0, 0, 0}, {1001, 101, 1001, 101}, {1000, 5, 0, 5},
	} {
		if got := user.toGuest(test.uid, test.gid); got != (fuse.Owner{Uid: test.wantUID, Gid: test.wantGID}) {
			t.Errorf("%d:%d shows as %v", test.uid, test.gid, got)
		}
	}
	for _, test := range []struct {
		uid, gid, wantUID, wantGID int
		err                        error
	}{
		{0, 0, 1000, 100, nil}, {keepID, 0, keepID, 100, nil}, {1000, keepID, 0, 0, unix.EPERM},
		{keepID, 100, 0, 0, unix.EPERM}, {7, 8, 7, 8, nil},
	} {
		uid, gid, err := user.toHost(test.uid, test.gid)
		if err != test.err || err == nil && (uid != test.wantUID || gid != test.wantGID) {
			t.Errorf("%d:%d becomes %d:%d, %v", test.uid, test.gid, uid, gid, err)
		}
	}
	if uid, gid := newIDs(0, 0).created(fuse.Owner{Uid: 3, Gid: 4}); uid != 3 || gid != 4 {
		t.Errorf("root gives new files to %d:%d", uid, gid)
	}
}

// TestSquash runs the server as an ordinary user, in a process of its own.
func TestSquash(t *testing.T) {
	const dirVariable = "FSSERVER_TEST_SQUASH_DIR"
	if dir := os.Getenv(dirVariable); dir != "" {
		testSquash(t, dir)
		return
	}
	if os.Geteuid() != 0 {
		testSquash(t, t.TempDir())
		return
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("/tmp", "fsserver-squash")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	writeFile(t, dir+"/roots", "x")
	os.Chmod(dir+"/roots", 0o600)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSquash$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{dirVariable + "=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestSquash") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func testSquash(t *testing.T, dir string) {
	c := newClient(t, dir, Options{})
	if root := c.getattr(rootNode); root.Uid != 0 || root.Gid != 0 {
		t.Errorf("the server's own directory shows as %d:%d", root.Uid, root.Gid)
	}
	for kind, makeOne := range makers {
		c.uid, c.gid = 1234, 1234
		entry := makeOne(c, rootNode, kind, 0o644)
		c.uid, c.gid = 0, 0
		if entry.Uid != 0 || entry.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", kind, entry.Uid, entry.Gid)
		}
		for _, test := range []struct {
			uid, gid uint32
			want     syscall.Errno
		}{
			{0, 0, 0}, {1, 0, syscall.EPERM}, {0, 1, syscall.EPERM}, {uint32(os.Geteuid()), 0, syscall.EPERM},
		} {
			_, errno := c.call(opSetattr, entry.NodeId, setattrArgs{Valid: fuse.FATTR_UID | fuse.FATTR_GID, UID: test.uid, GID: test.gid})
			if errno != test.want {
				t.Errorf("chown %s to %d:%d: %v, want %v", kind, test.uid, test.gid, errno, test.want)
			}
		}
	}
	if os.Getenv("FSSERVER_TEST_SQUASH_DIR") != "" {
		roots := c.lookup(rootNode, "roots")
		if _, errno := c.call(opOpen, roots.NodeId, openArgs{}); errno != syscall.EACCES {
			t.Errorf("open of another's private file: %v", errno)
		}
	}
}
