package fsserver

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func TestReadWrite(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, dir, Options{})
	file := c.create(rootNode, "file", syscall.O_RDWR, 0o644)
	big := bytes.Repeat([]byte("0123456789abcdef"), maxWrite/16)
	if n, errno := c.write(file.NodeId, file.Fh, 5, big); n != len(big) || errno != 0 {
		t.Fatalf("write: %d, %v", n, errno)
	}
	if got := readFile(t, dir+"/file"); got != "\x00\x00\x00\x00\x00"+string(big) {
		t.Errorf("host sees %d bytes", len(got))
	}
	reply, errno, _ := c.raw([][]byte{c.encode(opRead, file.NodeId, readArgs{Fh: file.Fh, Off: 5, Size: maxWrite})}, maxWrite)
	if !bytes.Equal(reply, big) || errno != 0 {
		t.Errorf("read: %d bytes, %v", len(reply), errno)
	}
	for _, test := range []struct {
		off  uint64
		want string
		err  syscall.Errno
	}{
		{maxWrite + 5 - 3, "def", 0},
		{maxWrite + 5, "", 0},
		{1 << 50, "", 0},
		{1 << 63, "", syscall.EINVAL},
	} {
		if got, errno := c.read(file.NodeId, file.Fh, test.off, 4096); string(got) != test.want || errno != test.err {
			t.Errorf("read at %#x: %q, %v", test.off, got, errno)
		}
	}
	if _, errno := c.write(file.NodeId, file.Fh, 1<<63, []byte("x")); errno != syscall.EINVAL {
		t.Errorf("write at a negative offset: %v", errno)
	}
	reader := c.open(file.NodeId, syscall.O_RDONLY)
	if _, errno := c.write(file.NodeId, reader.Fh, 0, []byte("x")); errno != syscall.EBADF {
		t.Errorf("write to a read-only handle: %v", errno)
	}
	writer := c.open(file.NodeId, syscall.O_WRONLY|syscall.O_TRUNC)
	if _, errno := c.read(file.NodeId, writer.Fh, 0, 1); errno != syscall.EBADF {
		t.Errorf("read from a write-only handle: %v", errno)
	}
	if got := c.getattr(file.NodeId).Size; got != 0 {
		t.Errorf("size after O_TRUNC: %d", got)
	}
}

func TestAppend(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "12345")
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "file").NodeId
	file := c.open(node, syscall.O_WRONLY|syscall.O_APPEND)
	for _, test := range []struct {
		name string
		arg  writeArg
		want string
	}{
		{"appends at the real end", writeArg{Flags: syscall.O_APPEND, Off: 2}, "12345xy"},
		{"flag was cleared since", writeArg{Off: 2}, "12xy5"},
		{"write-back of a mapping", writeArg{Flags: syscall.O_APPEND, WriteFlags: fuse.WRITE_CACHE, Off: 0}, "xy345"},
	} {
		writeFile(t, dir+"/file", "12345")
		test.arg.Fh, test.arg.Size = file.Fh, 2
		if n, errno := c.writeWith(node, test.arg, []byte("xy")); n != 2 || errno != 0 {
			t.Errorf("%s: %d, %v", test.name, n, errno)
		}
		if got := readFile(t, dir+"/file"); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestUnlinkedAndRenamedFilesStayOpen(t *testing.T) {
	dir := t.TempDir()
	c := newClient(t, dir, Options{})
	file := c.create(rootNode, "file", syscall.O_RDWR, 0o644)
	other := c.create(rootNode, "other", syscall.O_RDWR, 0o644)
	sub := c.mkdir(rootNode, "sub", 0o755)
	c.must(opRename, rootNode, struct{ D uint64 }{sub.NodeId}, "other", "moved")
	c.must(opRename2, rootNode, renameArgs{NewDir: rootNode}, "sub", "sub2")
	c.must(opUnlink, rootNode, "file")
	for _, f := range []fuse.CreateOut{file, other} {
		if _, errno := c.write(f.NodeId, f.Fh, 0, []byte("data")); errno != 0 {
			t.Errorf("write: %v", errno)
		}
		c.must(opSetattr, f.NodeId, setattrArgs{Valid: fuse.FATTR_SIZE | fuse.FATTR_FH, Fh: f.Fh, Size: 2})
		if got, errno := c.read(f.NodeId, f.Fh, 0, 10); string(got) != "da" || errno != 0 {
			t.Errorf("read: %q, %v", got, errno)
		}
	}
	if got := c.getattr(file.NodeId).Nlink; got != 0 {
		t.Errorf("unlinked file has %d links", got)
	}
	if got := readFile(t, dir+"/sub2/moved"); got != "da" {
		t.Errorf("moved file holds %q", got)
	}
	if got := c.lookup(sub.NodeId, "moved").NodeId; got != other.NodeId {
		t.Errorf("moved file is node %d, was %d", got, other.NodeId)
	}
}

func TestRenameFlags(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags uint32
		want  syscall.Errno
		a, b  string // contents afterwards, "-" for no file
	}{
		{"replace", 0, 0, "-", "a"},
		{"no replace", unix.RENAME_NOREPLACE, syscall.EEXIST, "a", "b"},
		{"exchange", unix.RENAME_EXCHANGE, 0, "b", "a"},
		{"unknown", 1 << 20, syscall.EINVAL, "a", "b"},
	} {
		dir := t.TempDir()
		writeFile(t, dir+"/a", "a")
		writeFile(t, dir+"/b", "b")
		c := newClient(t, dir, Options{})
		if _, errno := c.call(opRename2, rootNode, renameArgs{NewDir: rootNode, Flags: test.flags}, "a", "b"); errno != test.want {
			t.Errorf("%s: %v, want %v", test.name, errno, test.want)
		}
		for name, want := range map[string]string{"a": test.a, "b": test.b} {
			got, err := os.ReadFile(dir + "/" + name)
			if err != nil {
				got = []byte("-")
			}
			if string(got) != want {
				t.Errorf("%s: %s holds %q, want %q", test.name, name, got, want)
			}
		}
	}
}

func TestSpaceAndHoles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", strings.Repeat("x", 64<<10))
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "file").NodeId
	file := c.open(node, syscall.O_RDWR)
	c.must(opFallocate, node, fallocateArgs{Fh: file.Fh, Off: 4096, Len: 8192, Mode: unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE})
	if got, _ := c.read(node, file.Fh, 4095, 3); string(got) != "x\x00\x00" {
		t.Errorf("at the hole: %q", got)
	}
	for _, test := range []struct {
		whence uint32
		off    uint64
		want   uint64
		err    syscall.Errno
	}{
		{unix.SEEK_HOLE, 0, 4096, 0},
		{unix.SEEK_DATA, 4096, 4096 + 8192, 0},
		{unix.SEEK_DATA, 1 << 20, 0, syscall.ENXIO},
		{unix.SEEK_SET, 0, 0, syscall.EINVAL},
	} {
		reply, errno := c.call(opLseek, node, lseekArgs{Fh: file.Fh, Off: test.off, Whence: test.whence})
		if errno != test.err || errno == 0 && binary.NativeEndian.Uint64(reply) != test.want {
			t.Errorf("lseek %d from %d: %v, %v", test.whence, test.off, reply, errno)
		}
	}
	if _, errno := c.call(opFallocate, node, fallocateArgs{Fh: file.Fh, Len: 4096, Mode: unix.FALLOC_FL_COLLAPSE_RANGE}); errno != syscall.EOPNOTSUPP {
		t.Errorf("collapse: %v", errno)
	}
	c.must(opFallocate, node, fallocateArgs{Fh: file.Fh, Len: 128 << 10})
	if got := c.getattr(node).Size; got != 128<<10 {
		t.Errorf("size %d", got)
	}
	c.must(opFsync, node, fsyncArgs{Fh: file.Fh})
	c.must(opFsync, node, fsyncArgs{Fh: file.Fh, Flags: fsyncData})
	c.must(opStatfs, rootNode)
}

func TestCopyFileRange(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/from", "0123456789")
	c := newClient(t, dir, Options{})
	from := c.lookup(rootNode, "from").NodeId
	src := c.open(from, syscall.O_RDONLY)
	dst := c.create(rootNode, "to", syscall.O_RDWR, 0o644)
	arg := copyArgs{FhIn: src.Fh, OffIn: 2, NodeOut: dst.NodeId, FhOut: dst.Fh, OffOut: 1, Len: ^uint64(0)}
	if reply := c.must(opCopyFileRange, from, arg); binary.NativeEndian.Uint32(reply) != 8 {
		t.Errorf("copied %v", reply)
	}
	if got := readFile(t, dir+"/to"); got != "\x0023456789" {
		t.Errorf("copy holds %q", got)
	}
	arg.NodeOut = from
	if _, errno := c.call(opCopyFileRange, from, arg); errno != syscall.EBADF {
		t.Errorf("handle of another node: %v", errno)
	}
}

func TestKeepCache(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/file"
	writeFile(t, path, "1")
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "file").NodeId
	keeps := func() bool {
		file := c.open(node, syscall.O_RDONLY)
		defer c.release(node, file.Fh)
		return file.OpenFlags&fuse.FOPEN_KEEP_CACHE != 0
	}
	time.Sleep(3 * settled)
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"first open", func() {}, false},
		{"nothing changed", func() {}, true},
		{"host wrote", func() { writeFile(t, path, "2") }, false},
		{"host wrote right before the last open", func() {}, false},
		{"long ago", func() { time.Sleep(3 * settled); keeps() }, true},
		{"host wrote and put the time back", func() {
			st, _ := os.Stat(path)
			writeFile(t, path, "3")
			os.Chtimes(path, st.ModTime(), st.ModTime())
		}, false},
	} {
		step.do()
		if got := keeps(); got != step.want {
			t.Errorf("%s: keep cache %v", step.name, got)
		}
	}
}

func TestSetIDBitsOnWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: the host clears the bits for others")
	}
	truncate := func(valid uint32) func(c *client, node, fh uint64) {
		return func(c *client, node, fh uint64) {
			c.must(opSetattr, node, setattrArgs{Valid: fuse.FATTR_SIZE | valid, Fh: fh})
		}
	}
	write := func(flags uint32) func(c *client, node, fh uint64) {
		return func(c *client, node, fh uint64) {
			c.writeWith(node, writeArg{Fh: fh, Size: 1, WriteFlags: flags}, []byte("x"))
		}
	}
	open := func(flags uint32) func(c *client, node, fh uint64) {
		return func(c *client, node, fh uint64) {
			c.must(opOpen, node, openArgs{Flags: syscall.O_RDWR | syscall.O_TRUNC, OpenFlags: flags})
		}
	}
	for _, test := range []struct {
		name       string
		mode, want uint32
		do         func(c *client, node, fh uint64)
	}{
		{"write by root", 0o6755, 0o6755, write(0)},
		{"write by another", 0o6755, 0o0755, write(fuse.WRITE_KILL_SUIDGID)},
		{"set-group-id without execute means locking", 0o6745, 0o2745, write(fuse.WRITE_KILL_SUIDGID)},
		{"truncate by root", 0o6755, 0o6755, truncate(fuse.FATTR_FH)},
		{"truncate by another", 0o6755, 0o0755, truncate(fuse.FATTR_FH | fuse.FATTR_KILL_SUIDGID)},
		{"truncate by name", 0o6755, 0o0755, truncate(fuse.FATTR_KILL_SUIDGID)},
		{"open by root", 0o6755, 0o6755, open(0)},
		{"open by another", 0o6755, 0o0755, open(fuse.OPEN_KILL_SUIDGID)},
	} {
		c := newClient(t, t.TempDir(), Options{})
		file := c.create(rootNode, "file", syscall.O_RDWR, test.mode)
		if got := file.Mode & 0o7777; got != test.mode {
			t.Errorf("%s: created with %o", test.name, got)
		}
		test.do(c, file.NodeId, file.Fh)
		if got := c.getattr(file.NodeId).Mode & 0o7777; got != test.want {
			t.Errorf("%s: mode %o, want %o", test.name, got, test.want)
		}
	}
}
