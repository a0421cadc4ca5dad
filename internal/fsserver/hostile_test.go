package fsserver

import (
	"fmt"
	"log" //nolint:depguard // the test is that nobody writes there
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// give makes a file of the host known to the guest, wherever it is, and returns
// its node id.
func (c *client) give(path string) uint64 {
	c.Helper()
	fd, err := c.fs.budget.open(func() (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil {
		c.Fatal(err)
	}
	st, err := statFD(fd)
	if err != nil {
		c.Fatal(err)
	}
	var out fuse.EntryOut
	c.fs.enter(fd, st, &out)
	return out.NodeId
}

// TestProcessesAreNotShared: a /proc below the shared directory would hand out the
// memory of the host's processes. Nothing here reads or writes, whatever happens.
func TestProcessesAreNotShared(t *testing.T) {
	c := newClient(t, t.TempDir(), Options{})
	for _, name := range []string{"mem", "environ", "comm"} {
		node := c.give("/proc/self/" + name)
		for _, flags := range []uint32{syscall.O_RDONLY, syscall.O_RDWR} {
			if _, errno := c.call(opOpen, node, openArgs{Flags: flags}); errno != syscall.EACCES {
				t.Errorf("open of %s with %#x: %v", name, flags, errno)
			}
		}
	}
	c = newClient(t, "/proc/self", Options{ReadOnly: true}) // on purpose, then
	c.open(c.lookup(rootNode, "comm").NodeId, syscall.O_RDONLY)
}

// TestNothingBlocksForEver: files that wait for news are read without waiting.
func TestNothingBlocksForEver(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	for _, readOnly := range []bool{false, true} {
		c := newClient(t, dir, Options{ReadOnly: readOnly})
		node := c.lookup(rootNode, "file").NodeId
		file := c.open(node, syscall.O_RDONLY)
		flags, err := unix.FcntlInt(uintptr(c.fs.handles.byID[file.Fh].fd), unix.F_GETFL, 0)
		if err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("read-only %v: opened with %#x, %v", readOnly, flags, err)
		}
	}
}

// TestLeaseIsWaitedFor: a lease on the host delays an open, as it does any other.
func TestLeaseIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	for name, readOnly := range map[string]bool{"written": false, "read": true} {
		writeFile(t, dir+"/"+name, "x")
		holder, err := os.OpenFile(dir+"/"+name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		fd := int(holder.Fd())
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
			t.Skipf("no leases here: %v", err)
		}
		c := newClient(t, dir, Options{ReadOnly: readOnly})
		node := c.lookup(rootNode, name).NodeId
		released := make(chan struct{})
		go func() {
			defer close(released)
			time.Sleep(30 * time.Millisecond)
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		}()
		c.open(node, syscall.O_RDONLY)
		select {
		case <-released:
		case <-time.After(time.Second):
			t.Error("opened before the lease was given back")
		}
	}
}

// TestSymlinkRace has the guest swap a file for a link out of the tree between
// any two of its own requests and within them, as many threads of a hostile guest
// would. The canary outside is the test's own.
func TestSymlinkRace(t *testing.T) {
	dir := t.TempDir()
	root := dir + "/root"
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	canary := dir + "/canary"
	writeFile(t, canary, "canary")
	old := time.Unix(1_000_000, 0)
	if err := os.Chtimes(canary, old, old); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, canary)
	c := newClient(t, root, Options{})
	stop := make(chan struct{})
	var swappers sync.WaitGroup
	swap := &client{TB: t, Server: c.Server}
	swappers.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			swap.call(opSymlink, rootNode, "link", []string{canary, "../canary"}[i%2])
			swap.call(opCreate, rootNode, createArgs{Flags: syscall.O_RDWR, Mode: 0o600}, "plain")
			swap.call(opRename2, rootNode, renameArgs{NewDir: rootNode}, "link", "name")
			swap.call(opRename2, rootNode, renameArgs{NewDir: rootNode}, "plain", "name")
		}
	})
	for range 300 {
		if reply, errno := c.call(opLookup, rootNode, "name"); errno == 0 {
			node := c.entry(reply).NodeId
			c.call(opSetattr, node, setattrArgs{Valid: fuse.FATTR_SIZE | fuse.FATTR_MODE | fuse.FATTR_MTIME, Mode: 0o777})
			if reply, errno := c.call(opOpen, node, openArgs{Flags: syscall.O_RDWR | syscall.O_TRUNC}); errno == 0 {
				var file fuse.OpenOut
				decode(t, reply, &file)
				if got, _ := c.read(node, file.Fh, 0, 100); strings.Contains(string(got), "canary") {
					t.Fatal("read the file outside")
				}
				c.write(node, file.Fh, 0, []byte("overwritten"))
				c.release(node, file.Fh)
			}
			c.call(opSetxattr, node, xattrArgs{Size: 1}, "user.x", []byte("x"))
			c.call(opLink, rootNode, linkArgs{node}, "linked")
			c.call(opUnlink, rootNode, "linked")
			c.call(opForget, node, struct{ N uint64 }{1})
		}
		if reply, errno := c.call(opCreate, rootNode, createArgs{Flags: syscall.O_RDWR | syscall.O_TRUNC, Mode: 0o777}, "name"); errno == 0 {
			var out fuse.CreateOut
			decode(t, reply, &out)
			c.write(out.NodeId, out.Fh, 0, []byte("overwritten"))
			c.release(out.NodeId, out.Fh)
			c.call(opForget, out.NodeId, struct{ N uint64 }{1})
		}
		c.call(opMknod, rootNode, mknodArgs{Mode: syscall.S_IFREG | 0o777}, "name")
		c.call(opMkdir, rootNode, mkdirArgs{Mode: 0o777}, "name")
	}
	close(stop)
	swappers.Wait()
	after := snapshot(t, canary)
	for path, was := range before {
		now := after[path]
		was.Atim, now.Atim = syscall.Timespec{}, syscall.Timespec{}
		if now != was || now.Nlink != 1 {
			t.Errorf("the file outside was %+v\nand is %+v", was, now)
		}
	}
	if got := readFile(t, canary); got != "canary" {
		t.Errorf("the file outside holds %q", got)
	}
	if n, err := unix.Listxattr(canary, nil); n != 0 {
		t.Errorf("the file outside has attributes: %d bytes, %v", n, err)
	}
}

// TestMovedDirectoryLeadsNowhere moves a directory that the guest holds out of the
// shared tree, as a process of the host may: its ".." must not become a way out.
func TestMovedDirectoryLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"/root/inner", "/elsewhere"} {
		if err := os.MkdirAll(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, dir+"/elsewhere/canary", "canary")
	c := newClient(t, dir+"/root", Options{})
	inner := c.lookup(rootNode, "inner").NodeId
	if err := os.Rename(dir+"/root/inner", dir+"/elsewhere/inner"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"..", "../canary", "../../elsewhere/canary", "./../canary"} {
		if _, errno := c.call(opLookup, inner, name); errno != syscall.EINVAL {
			t.Errorf("lookup of %q: %v", name, errno)
		}
	}
	// The last line of defence behind the check of names.
	node, err := c.fs.inodes.getDir(inner)
	if err != nil {
		t.Fatal(err)
	}
	defer c.fs.inodes.put(node)
	for _, name := range []string{"..", "../canary", dir + "/elsewhere/canary"} {
		fd, err := c.fs.child(node, name, unix.O_PATH, 0)
		if err != nil {
			continue
		}
		st, err := statFD(fd)
		c.fs.budget.close(fd)
		if err != nil || keyOf(st) != node.key {
			t.Errorf("%q below a moved directory is inode %d, %v", name, st.Ino, err)
		}
	}
}

// TestLibraryLogsNothingByItself: the protocol library has messages for Go's
// standard logger, which nobody limits. No request may get that far.
func TestLibraryLogsNothingByItself(t *testing.T) {
	var out strings.Builder
	log.SetOutput(&out)
	defer log.SetOutput(os.Stderr)
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	c := newClient(t, dir, Options{ReadOnly: true}) // so that nothing changes
	node := c.lookup(rootNode, "file").NodeId
	for op := range uint32(128) {
		shape := operations[op]
		for _, size := range []int{0, 1, 8, shape.args - 1, shape.args, shape.args + 1, 200} {
			args := make([]byte, max(size, 0))
			for _, names := range []string{"", "a\x00", "a\x00b\x00"} {
				c.call(op, node, append(slices.Clip(args), names...))
				if op == opInit || op == opDestroy {
					c.init()
					node = c.lookup(rootNode, "file").NodeId
				}
			}
		}
	}
	if out.Len() > 0 {
		t.Errorf("logged:\n%s", out.String())
	}
}

// TestRepliesNeverExceedTheirRoom asks for much with little room for it, for every
// operation that can have a long reply.
func TestRepliesNeverExceedTheirRoom(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(strings.Repeat("t", 3000), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/file", strings.Repeat("x", 10000))
	for i := range 100 {
		writeFile(t, fmt.Sprintf("%s/entry%d", dir, i), "")
	}
	c := newClient(t, dir, Options{})
	file, link := c.lookup(rootNode, "file").NodeId, c.lookup(rootNode, "link").NodeId
	open, list := c.open(file, syscall.O_RDONLY), c.opendir(rootNode)
	for name, request := range map[string][]byte{
		"read":        c.encode(opRead, file, readArgs{Fh: open.Fh, Size: 10000}),
		"readlink":    c.encode(opReadlink, link),
		"readdir":     c.encode(opReaddir, rootNode, readArgs{Fh: list, Size: 10000}),
		"readdirplus": c.encode(opReaddirplus, rootNode, readArgs{Fh: list, Size: 10000}),
		"listxattr":   c.encode(opListxattr, file, xattrArgs{Size: 10000}),
		"statfs":      c.encode(opStatfs, rootNode),
		"lookup":      c.encode(opLookup, rootNode, "file"),
	} {
		for _, room := range []int{0, 15, 16, 17, 40, 80, 200, 4000} {
			// The room lies between guards that must stay as they are.
			all := []byte(strings.Repeat("#", 100+room+100))
			half := 100 + room/2
			n := c.HandleRequest([][]byte{request}, [][]byte{all[100:half:half], all[half : 100+room : 100+room]})
			if n > room {
				t.Errorf("%s with room for %d: %d bytes written", name, room, n)
			}
			if string(all[:100])+string(all[100+room:]) != strings.Repeat("#", 200) {
				t.Errorf("%s with room for %d wrote beside it", name, room)
			}
		}
	}
}
