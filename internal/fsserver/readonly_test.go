package fsserver

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestReadOnly sends every request that changes something to a read-only share,
// through the server and past its first check.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir+"/file", "content")
	before := snapshot(t, dir)
	c := newClient(t, dir, Options{ReadOnly: true})
	file, sub := c.lookup(rootNode, "file").NodeId, c.lookup(rootNode, "sub").NodeId
	open := c.open(file, syscall.O_RDONLY)
	if got, errno := c.read(file, open.Fh, 0, 100); string(got) != "content" || errno != 0 {
		t.Fatalf("read: %q, %v", got, errno)
	}
	changes := map[uint32][]any{
		opSetattr:       {setattrArgs{Valid: fuse.FATTR_MODE, Mode: 0o777}},
		opSymlink:       {"new", "target"},
		opMknod:         {mknodArgs{Mode: syscall.S_IFREG | 0o644}, "new"},
		opMkdir:         {mkdirArgs{Mode: 0o755}, "new"},
		opUnlink:        {"file"},
		opRmdir:         {"sub"},
		opRename:        {struct{ D uint64 }{sub}, "file", "new"},
		opRename2:       {renameArgs{NewDir: sub}, "file", "new"},
		opLink:          {linkArgs{file}, "new"},
		opWrite:         {writeArg{Fh: open.Fh, Size: 1}, []byte("x")},
		opSetxattr:      {xattrArgs{Size: 1}, "user.x", []byte("x")},
		opRemovexattr:   {"user.x"},
		opCreate:        {createArgs{Flags: syscall.O_RDWR, Mode: 0o644}, "new"},
		opTmpfile:       {createArgs{Flags: syscall.O_RDWR, Mode: 0o644}, "/"},
		opFallocate:     {fallocateArgs{Fh: open.Fh, Len: 1 << 20}},
		opCopyFileRange: {copyArgs{FhIn: open.Fh, NodeOut: file, FhOut: open.Fh, OffOut: 100, Len: 4}},
	}
	onFile := []uint32{opSetattr, opWrite, opSetxattr, opRemovexattr, opFallocate, opCopyFileRange}
	node := func(op uint32) uint64 {
		if slices.Contains(onFile, op) {
			return file
		}
		return rootNode
	}
	for op, shape := range operations {
		if _, tested := changes[op]; tested != shape.mutates {
			t.Errorf("opcode %d: in the test %v, in the table %v", op, tested, shape.mutates)
		}
	}
	for op, parts := range changes {
		if _, errno := c.call(op, node(op), parts...); errno != syscall.EROFS {
			t.Errorf("opcode %d: %v", op, errno)
		}
		request := c.encode(op, node(op), parts...)
		out := make([]byte, 4096)
		c.protocol.HandleRequest([][]byte{request}, [][]byte{out})
		if errno := -int32(uint32(out[4]) | uint32(out[5])<<8 | uint32(out[6])<<16 | uint32(out[7])<<24); syscall.Errno(errno) != syscall.EROFS {
			t.Errorf("opcode %d past the first check: %v", op, syscall.Errno(errno))
		}
	}
	for _, flags := range []uint32{
		syscall.O_WRONLY, syscall.O_RDWR, syscall.O_TRUNC, syscall.O_RDONLY | syscall.O_TRUNC, syscall.O_ACCMODE,
	} {
		if _, errno := c.call(opOpen, file, openArgs{Flags: flags}); errno != syscall.EROFS {
			t.Errorf("open with %#x: %v", flags, errno)
		}
	}
	list := c.opendir(rootNode)
	c.list(opReaddirplus, rootNode, list, 0, 4096, 100)
	if after := snapshot(t, dir); !maps.Equal(before, after) {
		t.Errorf("was %v\nnow %v", before, after)
	}
}

// snapshot describes all below dir, access times included.
func snapshot(t *testing.T, dir string) map[string]syscall.Stat_t {
	t.Helper()
	all := map[string]syscall.Stat_t{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		err = syscall.Lstat(path, &st)
		if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			st.Atim = syscall.Timespec{} // walking reads directories too
		}
		all[path] = st
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
