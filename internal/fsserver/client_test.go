package fsserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Opcodes as in linux/fuse.h, for the requests of the tests.
const (
	opLookup        = 1
	opForget        = 2
	opGetattr       = 3
	opSetattr       = 4
	opReadlink      = 5
	opSymlink       = 6
	opMknod         = 8
	opMkdir         = 9
	opUnlink        = 10
	opRmdir         = 11
	opRename        = 12
	opLink          = 13
	opOpen          = 14
	opRead          = 15
	opStatfs        = 17
	opRelease       = 18
	opFsync         = 20
	opSetxattr      = 21
	opGetxattr      = 22
	opListxattr     = 23
	opRemovexattr   = 24
	opFlush         = 25
	opOpendir       = 27
	opReaddir       = 28
	opReleasedir    = 29
	opFsyncdir      = 30
	opCreate        = 35
	opBatchForget   = 42
	opFallocate     = 43
	opReaddirplus   = 44
	opRename2       = 45
	opLseek         = 46
	opCopyFileRange = 47
	opTmpfile       = 51

	rootNode = fuse.FUSE_ROOT_ID
)

// client speaks raw FUSE to a Server.
type client struct {
	testing.TB
	*Server
	unique atomic.Uint64
	uid    uint32
	gid    uint32
}

// failHandler fails the test when the server reports a fault of its own.
type failHandler struct {
	testing.TB
	slog.Handler
}

func (h failHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		attrs := ""
		r.Attrs(func(a slog.Attr) bool { attrs += " " + a.String(); return true })
		h.Errorf("server error: %s%s", r.Message, attrs)
	}
	return nil
}

func (h failHandler) Enabled(context.Context, slog.Level) bool { return true }

// newClient serves root and does the INIT handshake.
func newClient(t testing.TB, root string, opts Options) *client {
	t.Helper()
	opts.Logger = slog.New(failHandler{t, slog.DiscardHandler})
	s, err := New(root, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	c := &client{TB: t, Server: s}
	c.init()
	return c
}

func (c *client) init() fuse.InitOut {
	c.Helper()
	reply := c.must(opInit, 0, struct{ Major, Minor, ReadAhead, Flags, Flags2 uint32 }{7, 37, 128 << 10, ^uint32(0), 0xff}, make([]byte, 44))
	var out struct {
		Major, Minor, ReadAhead, Flags uint32
		Background, Congestion         uint16
		MaxWrite, Gran                 uint32
		MaxPages                       uint16
	}
	decode(c, reply, &out)
	return fuse.InitOut{Flags: out.Flags, MaxWrite: out.MaxWrite, MaxPages: out.MaxPages, MaxBackground: out.Background}
}

// encode makes a request: the header and then each part, a byte slice, a string
// (NUL-terminated) or a struct of integers.
func (c *client) encode(opcode uint32, node uint64, parts ...any) []byte {
	c.Helper()
	b := binary.NativeEndian.AppendUint32(nil, 0)
	b = binary.NativeEndian.AppendUint32(b, opcode)
	b = binary.NativeEndian.AppendUint64(b, c.unique.Add(1))
	b = binary.NativeEndian.AppendUint64(b, node)
	b = binary.NativeEndian.AppendUint32(b, c.uid)
	b = binary.NativeEndian.AppendUint32(b, c.gid)
	b = append(b, make([]byte, 8)...)
	for _, part := range parts {
		switch p := part.(type) {
		case []byte:
			b = append(b, p...)
		case string:
			b = append(append(b, p...), 0)
		default:
			var err error
			if b, err = binary.Append(b, binary.NativeEndian, p); err != nil {
				c.Fatal(err)
			}
		}
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// raw sends request bytes and returns the reply's payload and errno; n is what
// HandleRequest returned.
func (c *client) raw(in [][]byte, room int) (payload []byte, errno syscall.Errno, n int) {
	c.Helper()
	out := make([]byte, outHeaderSize+room)
	n = c.HandleRequest(in, [][]byte{out[:outHeaderSize], out[outHeaderSize:]})
	if n == 0 {
		return nil, 0, 0
	}
	if length := binary.NativeEndian.Uint32(out); int(length) != n {
		c.Errorf("reply says %d bytes, %d written", length, n)
	}
	errno = syscall.Errno(-int32(binary.NativeEndian.Uint32(out[4:])))
	return out[outHeaderSize:n], errno, n
}

// call does one request.
func (c *client) call(opcode uint32, node uint64, parts ...any) ([]byte, syscall.Errno) {
	c.Helper()
	payload, errno, _ := c.raw([][]byte{c.encode(opcode, node, parts...)}, 64<<10)
	return payload, errno
}

// must is call for requests that have to succeed.
func (c *client) must(opcode uint32, node uint64, parts ...any) []byte {
	c.Helper()
	payload, errno := c.call(opcode, node, parts...)
	if errno != 0 {
		c.Fatalf("opcode %d: %v", opcode, errno)
	}
	return payload
}

func decode(t testing.TB, b []byte, into any) {
	t.Helper()
	if err := binary.Read(bytes.NewReader(b), binary.NativeEndian, into); err != nil {
		t.Fatalf("decode %T from %d bytes: %v", into, len(b), err)
	}
}

func (c *client) entry(reply []byte) (out fuse.EntryOut) {
	c.Helper()
	decode(c, reply, &out)
	return out
}

func (c *client) lookup(dir uint64, name string) fuse.EntryOut {
	c.Helper()
	return c.entry(c.must(opLookup, dir, name))
}

func (c *client) getattr(node uint64) (out fuse.AttrOut) {
	c.Helper()
	decode(c, c.must(opGetattr, node, make([]byte, 16)), &out)
	return out
}

func (c *client) open(node uint64, flags uint32) (out fuse.OpenOut) {
	c.Helper()
	decode(c, c.must(opOpen, node, openArgs{Flags: flags}), &out)
	return out
}

func (c *client) create(dir uint64, name string, flags, mode uint32) (out fuse.CreateOut) {
	c.Helper()
	decode(c, c.must(opCreate, dir, createArgs{Flags: flags, Mode: mode}, name), &out)
	return out
}

func (c *client) mkdir(dir uint64, name string, mode uint32) fuse.EntryOut {
	c.Helper()
	return c.entry(c.must(opMkdir, dir, mkdirArgs{Mode: mode}, name))
}

func (c *client) write(node, fh uint64, off uint64, data []byte) (int, syscall.Errno) {
	c.Helper()
	return c.writeWith(node, writeArg{Fh: fh, Off: off, Size: uint32(len(data))}, data)
}

func (c *client) writeWith(node uint64, arg writeArg, data []byte) (int, syscall.Errno) {
	c.Helper()
	reply, errno := c.call(opWrite, node, arg, data)
	if errno != 0 {
		return 0, errno
	}
	return int(binary.NativeEndian.Uint32(reply)), 0
}

func (c *client) read(node, fh, off uint64, size uint32) ([]byte, syscall.Errno) {
	c.Helper()
	return c.call(opRead, node, readArgs{Fh: fh, Off: off, Size: size})
}

func (c *client) release(node, fh uint64) {
	c.Helper()
	c.must(opRelease, node, releaseArgs{Fh: fh})
}

// Arguments after the header, as in linux/fuse.h.
type (
	openArgs   struct{ Flags, OpenFlags uint32 }
	createArgs struct{ Flags, Mode, Umask, OpenFlags uint32 }
	mkdirArgs  struct{ Mode, Umask uint32 }
	mknodArgs  struct{ Mode, Rdev, Umask, _ uint32 }
	linkArgs   struct{ Old uint64 }
	renameArgs struct {
		NewDir uint64
		Flags  uint32
		_      uint32
	}
	readArgs struct {
		Fh, Off         uint64
		Size, ReadFlags uint32
		Owner           uint64
		Flags, _        uint32
	}
	writeArg struct {
		Fh, Off          uint64
		Size, WriteFlags uint32
		Owner            uint64
		Flags, _         uint32
	}
	releaseArgs struct {
		Fh                  uint64
		Flags, ReleaseFlags uint32
		Owner               uint64
	}
	fsyncArgs struct {
		Fh       uint64
		Flags, _ uint32
	}
	setattrArgs struct {
		Valid, _                  uint32
		Fh, Size, Owner           uint64
		Atime, Mtime, Ctime       uint64
		AtimeNs, MtimeNs, CtimeNs uint32
		Mode, _, UID, GID, _      uint32
	}
	xattrArgs     struct{ Size, Flags uint32 }
	fallocateArgs struct {
		Fh, Off, Len uint64
		Mode, _      uint32
	}
	lseekArgs struct {
		Fh, Off   uint64
		Whence, _ uint32
	}
	copyArgs struct {
		FhIn, OffIn, NodeOut, FhOut, OffOut, Len, Flags uint64
	}
)
