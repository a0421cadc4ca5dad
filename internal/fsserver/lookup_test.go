package fsserver

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func TestBadNames(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/root/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/secret", "secret")
	writeFile(t, dir+"/root/file", "x")
	writeFile(t, dir+"/secret", "secret")
	c := newClient(t, dir+"/root", Options{})
	sub := c.lookup(rootNode, "sub").NodeId
	file := c.lookup(rootNode, "file").NodeId
	ops := map[string]func(name string) syscall.Errno{
		"lookup": func(n string) syscall.Errno { return errnoOf(c.call(opLookup, sub, n)) },
		"mkdir":  func(n string) syscall.Errno { return errnoOf(c.call(opMkdir, sub, mkdirArgs{Mode: 0o755}, n)) },
		"mknod": func(n string) syscall.Errno {
			return errnoOf(c.call(opMknod, sub, mknodArgs{Mode: syscall.S_IFREG}, n))
		},
		"create": func(n string) syscall.Errno {
			return errnoOf(c.call(opCreate, sub, createArgs{Flags: syscall.O_RDWR}, n))
		},
		"symlink": func(n string) syscall.Errno { return errnoOf(c.call(opSymlink, sub, n, "target")) },
		"link":    func(n string) syscall.Errno { return errnoOf(c.call(opLink, sub, linkArgs{file}, n)) },
		"unlink":  func(n string) syscall.Errno { return errnoOf(c.call(opUnlink, sub, n)) },
		"rmdir":   func(n string) syscall.Errno { return errnoOf(c.call(opRmdir, sub, n)) },
		"rename":  func(n string) syscall.Errno { return errnoOf(c.call(opRename, sub, sub, n, "new")) },
		"renameTo": func(n string) syscall.Errno {
			return errnoOf(c.call(opRename2, rootNode, renameArgs{NewDir: sub}, "file", n))
		},
	}
	for _, bad := range []struct {
		name string
		want syscall.Errno
	}{
		{"", syscall.EINVAL},
		{".", syscall.EINVAL},
		{"..", syscall.EINVAL},
		{"../secret", syscall.EINVAL},
		{dir + "/secret", syscall.EINVAL}, // of the test's own: should the server fail, it must not take the host with it
		{"a/b", syscall.EINVAL},
		{"a/", syscall.EINVAL},
		{strings.Repeat("n", 256), syscall.ENAMETOOLONG},
		{strings.Repeat("n", 5000), syscall.ENAMETOOLONG},
	} {
		for op, do := range ops {
			if got := do(bad.name); got != bad.want {
				t.Errorf("%s %.20q: %v, want %v", op, bad.name, got, bad.want)
			}
		}
	}
	if b, err := os.ReadFile(dir + "/secret"); err != nil || string(b) != "secret" {
		t.Errorf("the file outside: %q, %v", b, err)
	}
	if entries, _ := os.ReadDir(dir + "/root/sub"); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	c.mkdir(sub, strings.Repeat("n", 255), 0o755)
}

func errnoOf(_ []byte, errno syscall.Errno) syscall.Errno { return errno }

// TestReservedNames checks that names which the protocol library treats as its
// own are ordinary here.
func TestReservedNames(t *testing.T) {
	const name = ".go-fuse-epoll-hack"
	dir := t.TempDir()
	c := newClient(t, dir, Options{})
	if _, errno := c.call(opLookup, rootNode, name); errno != syscall.ENOENT {
		t.Errorf("lookup of a missing name: %v", errno)
	}
	c.mkdir(rootNode, name, 0o755)
	if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || !fi.IsDir() {
		t.Errorf("on the host: %v, %v", fi, err)
	}
	for _, op := range []uint32{opGetattr, opOpen, opSetattr} {
		if _, errno := c.call(op, ^uint64(0), make([]byte, operations[op].args)); errno != syscall.ESTALE {
			t.Errorf("opcode %d on node ^0: %v", op, errno)
		}
	}
}

// TestSymlinksStayLinks checks that nothing on the host follows a link.
func TestSymlinksStayLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/outside", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/outside/secret", "secret")
	root := dir + "/root"
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"absolute": dir + "/outside/secret", "relative": "../outside/secret",
		"dir": "../outside", "proc": "/proc/self/root", "dangling": "nothing",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		c := newClient(t, root, Options{})
		entry := c.lookup(rootNode, name)
		if entry.Mode&syscall.S_IFMT != syscall.S_IFLNK {
			t.Errorf("%s: mode %o", name, entry.Mode)
		}
		if got := string(c.must(opReadlink, entry.NodeId)); got != target {
			t.Errorf("%s: readlink %q, want %q", name, got, target)
		}
		for what, want := range map[string][2]syscall.Errno{
			"open":     {errnoOf(c.call(opOpen, entry.NodeId, openArgs{})), syscall.ELOOP},
			"opendir":  {errnoOf(c.call(opOpendir, entry.NodeId, openArgs{})), syscall.ENOTDIR},
			"lookup":   {errnoOf(c.call(opLookup, entry.NodeId, "secret")), syscall.ENOTDIR},
			"create":   {errnoOf(c.call(opCreate, entry.NodeId, createArgs{Flags: syscall.O_RDWR}, "new")), syscall.ENOTDIR},
			"createAt": {errnoOf(c.call(opCreate, rootNode, createArgs{Flags: syscall.O_RDWR}, name)), syscall.ELOOP},
			"truncate": {errnoOf(c.call(opSetattr, entry.NodeId, setattrArgs{Valid: fuse.FATTR_SIZE})), syscall.ELOOP},
			"chmod":    {errnoOf(c.call(opSetattr, entry.NodeId, setattrArgs{Valid: fuse.FATTR_MODE, Mode: 0o777})), syscall.EOPNOTSUPP},
		} {
			if want[0] != want[1] {
				t.Errorf("%s: %s: %v, want %v", name, what, want[0], want[1])
			}
		}
		c.must(opSetattr, entry.NodeId, setattrArgs{Valid: fuse.FATTR_MTIME, Mtime: 42})
		if got := c.getattr(entry.NodeId).Mtime; got != 42 {
			t.Errorf("%s: mtime of the link %d", name, got)
		}
		c.must(opLink, rootNode, linkArgs{entry.NodeId}, name+"2")
		if got, err := os.Readlink(filepath.Join(root, name+"2")); got != target {
			t.Errorf("%s: hard link reads %q, %v", name, got, err)
		}
	}
	if fi, err := os.Stat(dir + "/outside/secret"); err != nil || fi.Size() != 6 || fi.ModTime().Unix() == 42 {
		t.Errorf("outside: %v, %v", fi, err)
	}
}

func TestSpecialFilesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o666); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "fifo").NodeId
	for _, flags := range []uint32{syscall.O_RDONLY, syscall.O_WRONLY, syscall.O_RDWR} {
		if _, errno := c.call(opOpen, node, openArgs{Flags: flags}); errno != syscall.EINVAL {
			t.Errorf("open with %#x: %v", flags, errno)
		}
	}
	if _, errno := c.call(opSetattr, node, setattrArgs{Valid: fuse.FATTR_SIZE}); errno != syscall.EINVAL {
		t.Errorf("truncate: %v", errno)
	}
	if _, errno := c.call(opCreate, rootNode, createArgs{Flags: syscall.O_WRONLY}, "fifo"); errno != syscall.EINVAL {
		t.Errorf("create over it: %v", errno)
	}
}

func TestForget(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	c := newClient(t, dir, Options{})
	forget := func(node, n uint64) { c.call(opForget, node, struct{ N uint64 }{n}) }
	alive := func(node uint64) bool { return errnoOf(c.call(opGetattr, node, make([]byte, 16))) == 0 }

	first := c.lookup(rootNode, "file").NodeId
	if again := c.lookup(rootNode, "file").NodeId; again != first {
		t.Fatalf("node %d, then %d", first, again)
	}
	if forget(first, 1); !alive(first) {
		t.Fatal("gone after one of two lookups was forgotten")
	}
	file := c.open(first, syscall.O_RDONLY)
	if forget(first, 1); alive(first) {
		t.Fatal("alive after both were forgotten")
	}
	if got, errno := c.read(first, file.Fh, 0, 10); string(got) != "x" {
		t.Errorf("open file of a forgotten node: %q, %v", got, errno)
	}
	c.release(first, file.Fh)

	second := c.lookup(rootNode, "file").NodeId
	if second == first {
		t.Error("node id used twice")
	}
	forget(second, ^uint64(0)) // more than there were
	if alive(second) {
		t.Error("alive after underflow")
	}
	for _, forged := range []uint64{0, rootNode, rootAlias, second, second + 1, 1 << 40, ^uint64(0)} {
		forget(forged, ^uint64(0))
	}
	c.call(opBatchForget, 0, struct{ N, Root, Count uint64 }{1, rootNode, 1 << 40})
	if !alive(rootNode) {
		t.Fatal("the root was forgotten")
	}
	third := c.lookup(rootNode, "file").NodeId
	var batch bytes.Buffer
	for range 3 {
		batch.Write(c.encode(0, third)[16:24])
		batch.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	c.call(opBatchForget, 0, struct{ N, _ uint32 }{3, 0}, batch.Bytes())
	if alive(third) {
		t.Error("alive after batch forget")
	}
	if used := c.fs.budget.used.Load(); used != 0 || c.fs.inodes.size() != 1 {
		t.Errorf("%d descriptors and %d inodes left", used, c.fs.inodes.size())
	}
}

func TestForgedIDs(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a", "a")
	writeFile(t, dir+"/b", "b")
	c := newClient(t, dir, Options{})
	a, b := c.lookup(rootNode, "a").NodeId, c.lookup(rootNode, "b").NodeId
	file := c.open(a, syscall.O_RDWR)
	var list fuse.OpenOut
	decode(t, c.must(opOpendir, rootNode, openArgs{}), &list)

	for op, shape := range operations {
		if op == opInit || op == opDestroy || shape.noReply || op == opFlush || op == opRelease || op == opReleasedir {
			continue
		}
		parts := []any{make([]byte, shape.args)}
		for range shape.names {
			parts = append(parts, "name")
		}
		for _, node := range []uint64{0, 77777, ^uint64(0) - 1} {
			_, errno := c.call(op, node, parts...)
			if errno != syscall.ESTALE && errno != syscall.EBADF && errno != syscall.EINVAL {
				t.Errorf("opcode %d on node %d: %v", op, node, errno)
			}
		}
	}
	for name, fh := range map[string]uint64{"unknown": 9999, "of another node": file.Fh, "of a directory": list.Fh} {
		if _, errno := c.read(b, fh, 0, 10); errno != syscall.EBADF {
			t.Errorf("read with a handle %s: %v", name, errno)
		}
		if _, errno := c.write(b, fh, 0, []byte("x")); errno != syscall.EBADF {
			t.Errorf("write with a handle %s: %v", name, errno)
		}
		c.release(b, fh)
	}
	if _, errno := c.call(opReaddir, rootNode, readArgs{Fh: file.Fh, Size: 4096}); errno != syscall.EBADF {
		t.Errorf("readdir of a file's handle: %v", errno)
	}
	if _, errno := c.write(a, file.Fh, 0, []byte("x")); errno != 0 {
		t.Errorf("handle after others tried to release it: %v", errno)
	}
}

func TestHardLinksShareNode(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a", "x")
	if err := os.Link(dir+"/a", dir+"/b"); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, dir, Options{})
	a := c.lookup(rootNode, "a")
	if b := c.lookup(rootNode, "b"); b.NodeId != a.NodeId || b.Nlink != 2 {
		t.Errorf("a is node %d, b is %d with %d links", a.NodeId, b.NodeId, b.Nlink)
	}
	linked := c.entry(c.must(opLink, rootNode, linkArgs{a.NodeId}, "c"))
	if linked.NodeId != a.NodeId || linked.Nlink != 3 {
		t.Errorf("c is node %d with %d links", linked.NodeId, linked.Nlink)
	}
	c.must(opUnlink, rootNode, "a")
	if got := c.getattr(a.NodeId).Nlink; got != 2 {
		t.Errorf("%d links after unlink", got)
	}
	c.call(opForget, a.NodeId, struct{ N uint64 }{2})
	c.getattr(a.NodeId) // LINK counted a lookup too
}

func TestTimeouts(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	c := newClient(t, dir, Options{})
	entry := c.lookup(rootNode, "file")
	if entry.EntryTimeout() != time.Second || entry.AttrTimeout() != time.Second {
		t.Errorf("entry %v, attributes %v", entry.EntryTimeout(), entry.AttrTimeout())
	}
	if _, errno := c.call(opLookup, rootNode, "later"); errno != syscall.ENOENT {
		t.Errorf("missing name: %v", errno)
	}
	writeFile(t, dir+"/later", "x")
	c.lookup(rootNode, "later")
}

// TestRenameRace swaps a directory for a link out of the tree while the guest
// walks through it.
func TestRenameRace(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"outside", "root/real"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, dir+"/outside/file", "secret")
	writeFile(t, dir+"/root/real/file", "public")
	root := dir + "/root/"
	if err := os.Symlink("../outside", root+"link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root+"real", root+"name"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := unix.Renameat2(unix.AT_FDCWD, root+"name", unix.AT_FDCWD, root+"link", unix.RENAME_EXCHANGE); err != nil {
					t.Errorf("swap: %v", err)
					return
				}
			}
		}
	})
	defer swapper.Wait()
	defer close(stop)

	c := newClient(t, root, Options{})
	seen := map[string]int{}
	for range 3000 {
		entry := c.lookup(rootNode, "name")
		reply, errno := c.call(opLookup, entry.NodeId, "file")
		if errno != 0 {
			seen[errno.Error()]++
			continue
		}
		file := c.entry(reply)
		open := c.open(file.NodeId, syscall.O_RDONLY)
		content, _ := c.read(file.NodeId, open.Fh, 0, 100)
		seen[string(content)]++
		c.release(file.NodeId, open.Fh)
		c.call(opCreate, entry.NodeId, createArgs{Flags: syscall.O_WRONLY}, "new")
		c.call(opUnlink, entry.NodeId, "new")
	}
	if seen["public"] == 0 || seen[syscall.ENOTDIR.Error()] == 0 || len(seen) != 2 {
		t.Errorf("saw %v", seen)
	}
	if entries, _ := os.ReadDir(dir + "/outside"); len(entries) != 1 {
		t.Errorf("outside: %v", entries)
	}
}
