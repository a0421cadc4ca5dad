package fsserver

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// FuzzHandleRequest sends sequences of requests: each is two bytes of length,
// one of how to cut it up, and then the request, whose own length field is made
// right, as a wrong one gets nowhere. Node ids and handles start from small
// numbers, so that the fuzzer finds real ones.
func FuzzHandleRequest(f *testing.F) {
	c := newClient(f, f.TempDir(), Options{})
	sequence := func(requests ...[]byte) (all []byte) {
		for _, r := range requests {
			all = binary.LittleEndian.AppendUint16(all, uint16(len(r)))
			all = append(append(all, byte(len(r)/2)), r...)
		}
		return all
	}
	const node, fh = 2, 1 // the first that a session gives out
	lookup := c.encode(opLookup, rootNode, "file")
	open := c.encode(opOpen, node, openArgs{Flags: syscall.O_RDWR})
	for _, seed := range [][]byte{
		sequence(lookup, open, c.encode(opRead, node, readArgs{Fh: fh, Size: 100}), c.encode(opRelease, node, releaseArgs{Fh: fh})),
		sequence(lookup, open, c.encode(opWrite, node, writeArg{Fh: fh, Size: 4}, []byte("data")), c.encode(opForget, node, struct{ N uint64 }{9})),
		sequence(lookup, open, c.encode(opCopyFileRange, node, copyArgs{FhIn: fh, NodeOut: node, FhOut: fh, OffOut: 5, Len: 3})),
		sequence(lookup, open, c.encode(opFallocate, node, fallocateArgs{Fh: fh, Len: 100}), c.encode(opLseek, node, lseekArgs{Fh: fh, Whence: 3})),
		sequence(c.encode(opCreate, rootNode, createArgs{Flags: syscall.O_RDWR, Mode: 0o644}, "new"), c.encode(opFsync, node, fsyncArgs{Fh: fh})),
		sequence(c.encode(opTmpfile, rootNode, createArgs{Flags: syscall.O_RDWR}, "/"), c.encode(opLink, rootNode, linkArgs{node}, "named")),
		sequence(c.encode(opMkdir, rootNode, mkdirArgs{Mode: 0o755}, "dir"), c.encode(opRename2, rootNode, renameArgs{NewDir: node}, "file", "moved"), c.encode(opRmdir, rootNode, "dir")),
		sequence(c.encode(opOpendir, rootNode, openArgs{}), c.encode(opReaddirplus, rootNode, readArgs{Fh: fh, Size: 1000}), c.encode(opReaddir, rootNode, readArgs{Fh: fh, Off: 2, Size: 100})),
		sequence(c.encode(opLookup, rootNode, "link"), c.encode(opReadlink, node), c.encode(opLookup, node, "secret"), c.encode(opSymlink, rootNode, "l2", "../secret")),
		sequence(lookup, c.encode(opSetxattr, node, xattrArgs{Size: 1}, "user.a", []byte("b")), c.encode(opGetxattr, node, xattrArgs{Size: 10}, "user.a"), c.encode(opListxattr, node, xattrArgs{Size: 99})),
		sequence(lookup, c.encode(opSetattr, node, setattrArgs{Valid: 0xfff, Fh: fh, Size: 3, Mode: 0o4777}), c.encode(opGetattr, node, make([]byte, 16)), c.encode(opStatfs, node)),
		sequence(c.encode(opMknod, rootNode, mknodArgs{Mode: syscall.S_IFIFO}, "fifo"), c.encode(opOpen, node, openArgs{}), c.encode(opUnlink, rootNode, "fifo")),
		sequence(c.encode(opBatchForget, 0, struct{ N, _ uint32 }{2, 0}, make([]byte, 32)), c.encode(opLookup, rootNode, "../secret"), c.encode(opDestroy, 0)),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir+"/secret", "secret")
		writeFile(t, root+"/file", "content")
		if err := os.Symlink("../secret", root+"/link"); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(dir + "/secret")
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, root, Options{Budget: NewBudget(30)})
		for range 50 {
			if len(data) < 3 {
				break
			}
			size, cut := int(binary.LittleEndian.Uint16(data)), int(data[2])
			size = min(size, len(data)-3)
			request := append([]byte(nil), data[3:3+size]...)
			data = data[3+size:]
			checkReply(t, c, tame(request), cut)
		}
		c.Reset()
		if used := c.fs.budget.used.Load(); used != 0 {
			t.Errorf("%d descriptors left after reset", used)
		}
		after, err := os.Stat(dir + "/secret")
		if err != nil || after.Mode() != before.Mode() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("outside of the root: %v, then %v, %v", before, after, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 2 {
			t.Errorf("beside the root: %v", entries)
		}
	})
}

// tame keeps a request from filling the disk and makes its length field right.
func tame(request []byte) []byte {
	if len(request) < inHeaderSize {
		return request
	}
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	if binary.NativeEndian.Uint32(request[4:]) == opFallocate && len(request) >= inHeaderSize+24 {
		length := request[inHeaderSize+16 : inHeaderSize+24]
		binary.NativeEndian.PutUint64(length, binary.NativeEndian.Uint64(length)&0xfffff)
	}
	return request
}

// checkReply sends a request cut in two and checks the form of the reply.
func checkReply(t *testing.T, c *client, request []byte, cut int) {
	t.Helper()
	cut = min(cut, len(request))
	out := make([]byte, 8192)
	n := c.HandleRequest([][]byte{request[:cut], request[cut:]}, [][]byte{out[:cut], out[cut:]})
	switch {
	case n == 0:
	case n < outHeaderSize || n > len(out):
		t.Fatalf("%d bytes of reply", n)
	case int(binary.NativeEndian.Uint32(out)) != n:
		t.Fatalf("%d bytes of reply, header says %d", n, binary.NativeEndian.Uint32(out))
	case binary.NativeEndian.Uint64(out[8:]) != binary.NativeEndian.Uint64(request[8:]):
		t.Fatalf("reply to another request")
	}
}

// FuzzLoadState loads any bytes. What is accepted can be saved and loaded again,
// and the session that it makes answers.
func FuzzLoadState(f *testing.F) {
	root := f.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("x"), 0o600); err != nil {
		f.Fatal(err)
	}
	c := newClient(f, root, Options{ReadOnly: true})
	f.Add(c.save())
	c.open(c.lookup(rootNode, "file").NodeId, 0)
	f.Add(c.save())
	f.Fuzz(func(t *testing.T, state []byte) {
		s, err := New(root, Options{ReadOnly: true, Budget: NewBudget(50)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			s.Close()
			if n := s.fs.budget.used.Load(); n != 0 {
				t.Errorf("%d descriptors of the budget are left", n)
			}
		}()
		if s.LoadState(state) != nil {
			return
		}
		d := &client{TB: t, Server: s}
		first := d.save()
		for node := range uint64(4) {
			for fh := range uint64(3) {
				d.read(node, fh, 0, 10)
			}
		}
		if err := s.LoadState(first); err != nil {
			t.Fatalf("cannot load %s again: %v", first, err)
		}
		if second := d.save(); !bytes.Equal(first, second) {
			t.Fatalf("%s, then %s", first, second)
		}
	})
}
