package fsserver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/holtvm/holt/internal/guestlog"
)

func TestNewErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	writeFile(t, file, "")
	for path, want := range map[string]error{
		file:                 syscall.ENOTDIR,
		dir + "/nothing":     fs.ErrNotExist,
		dir + "/nothing/sub": fs.ErrNotExist,
	} {
		if s, err := New(path, Options{}); !errors.Is(err, want) {
			t.Errorf("New(%q) = %v, %v; want error %v", path, s, err, want)
		}
	}
}

func TestInitNegotiates(t *testing.T) {
	c := newClient(t, t.TempDir(), Options{})
	out := c.init()
	want := uint32(fuse.CAP_ASYNC_READ | fuse.CAP_BIG_WRITES | fuse.CAP_PARALLEL_DIROPS | fuse.CAP_MAX_PAGES |
		fuse.CAP_AUTO_INVAL_DATA | fuse.CAP_READDIRPLUS | fuse.CAP_CACHE_SYMLINKS | wantedCapabilities)
	if missing := want &^ out.Flags; missing != 0 {
		t.Errorf("flags %#x lack %#x", out.Flags, missing)
	}
	not := uint32(fuse.CAP_WRITEBACK_CACHE | fuse.CAP_POSIX_LOCKS | fuse.CAP_FLOCK_LOCKS | fuse.CAP_DONT_MASK | fuse.CAP_EXPORT_SUPPORT)
	if extra := not & out.Flags; extra != 0 {
		t.Errorf("flags %#x have %#x", out.Flags, extra)
	}
	if out.MaxWrite != 1<<20 || out.MaxPages != 256 || out.MaxBackground != maxBackground {
		t.Errorf("max write %d, pages %d, background %d", out.MaxWrite, out.MaxPages, out.MaxBackground)
	}
}

func TestSessions(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	for _, test := range []struct {
		name string
		end  func(c *client)
		// after is what a lookup gets before a new INIT.
		after syscall.Errno
	}{
		{"reset", func(c *client) { c.Reset() }, syscall.EIO},
		{"destroy", func(c *client) { c.must(opDestroy, 0) }, syscall.EIO},
		{"second init", func(c *client) { c.init() }, 0},
		{"close", func(c *client) { c.Close() }, syscall.ENODEV},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := openDescriptors(t)
			c := newClient(t, dir, Options{})
			entry := c.lookup(rootNode, "file")
			file := c.open(entry.NodeId, syscall.O_RDONLY)
			test.end(c)
			if used := c.fs.budget.used.Load(); used != 0 {
				t.Errorf("%d descriptors still held for the guest", used)
			}
			if _, errno := c.call(opLookup, rootNode, "file"); errno != test.after {
				t.Errorf("lookup: %v, want %v", errno, test.after)
			}
			if test.after == syscall.ENODEV {
				if after := openDescriptors(t); after > before {
					t.Errorf("%d descriptors open, %d before", after, before)
				}
				return
			}
			c.init()
			if _, errno := c.call(opGetattr, entry.NodeId, make([]byte, 16)); errno != syscall.ESTALE {
				t.Errorf("getattr of a forgotten node: %v", errno)
			}
			if _, errno := c.read(entry.NodeId, file.Fh, 0, 10); errno != syscall.EBADF {
				t.Errorf("read of a forgotten handle: %v", errno)
			}
			c.lookup(rootNode, "file")
		})
	}
}

// TestResetWaits resets while requests run.
func TestResetWaits(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	c := newClient(t, dir, Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				reply, errno := c.call(opLookup, rootNode, "file")
				if errno != 0 && errno != syscall.EIO {
					t.Errorf("lookup: %v", errno)
				}
				if errno == 0 {
					c.call(opOpen, c.entry(reply).NodeId, openArgs{})
				}
			}
		})
	}
	for range 50 {
		c.Reset()
		c.init()
	}
	wg.Wait()
	c.Reset()
	if used := c.fs.budget.used.Load(); used != 0 {
		t.Errorf("%d descriptors held after reset", used)
	}
}

func TestMalformedRequests(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "content")
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "file").NodeId
	file := c.open(node, syscall.O_RDWR)
	patch := func(b []byte, at int, v uint32) []byte {
		binary.NativeEndian.PutUint32(b[at:], v)
		return b
	}
	write := func() []byte {
		return c.encode(opWrite, node, writeArg{Fh: file.Fh, Size: 4}, []byte("data"))
	}
	for _, test := range []struct {
		name string
		in   []byte
		want syscall.Errno // zero: no reply at all
	}{
		{"empty", nil, 0},
		{"half a header", make([]byte, inHeaderSize-1), 0},
		{"zero header", make([]byte, inHeaderSize), syscall.EINVAL},
		{"length says less", patch(c.encode(opLookup, rootNode, "file"), 0, inHeaderSize), syscall.EINVAL},
		{"length says more", patch(c.encode(opLookup, rootNode, "file"), 0, 1<<30), syscall.EINVAL},
		{"no arguments", c.encode(opGetattr, node), syscall.EINVAL},
		{"half the arguments", c.encode(opRead, node, make([]byte, 20)), syscall.EINVAL},
		{"no name", c.encode(opLookup, rootNode), syscall.EINVAL},
		{"name without end", c.encode(opLookup, rootNode, []byte("file")), syscall.EINVAL},
		{"NUL inside a name", c.encode(opLookup, rootNode, "fi\x00le"), syscall.EINVAL},
		{"one name of two", c.encode(opSymlink, rootNode, "link"), syscall.EINVAL},
		{"bytes after the arguments", c.encode(opGetattr, node, make([]byte, 24)), syscall.EINVAL},
		{"extension", patch(c.encode(opLookup, rootNode, "file"), 36, 1), syscall.EINVAL},
		{"extension of a write", patch(write(), 36, 1), syscall.EINVAL},
		{"unknown opcode", c.encode(4096, rootNode), syscall.ENOSYS},
		{"opcode of a notification", c.encode(102, rootNode), syscall.ENOSYS},
		{"lock", c.encode(32, node, make([]byte, 48)), syscall.ENOSYS},
		{"ioctl", c.encode(39, node, make([]byte, 32)), syscall.ENOSYS},
		{"write size says more", patch(write(), inHeaderSize+16, 5), syscall.EINVAL},
		{"write size says less", patch(write(), inHeaderSize+16, 3), syscall.EINVAL},
		{"write too large", c.encode(opWrite, node, writeArg{Fh: file.Fh, Size: maxWrite + 1}, make([]byte, maxWrite+1)), syscall.EINVAL},
		{"read too large", c.encode(opRead, node, readArgs{Fh: file.Fh, Size: 1 << 31}), syscall.EINVAL},
		{"read beyond the reply", c.encode(opRead, node, readArgs{Fh: file.Fh, Size: 1 << 20}), syscall.EIO},
		{"getxattr too large", c.encode(opGetxattr, node, xattrArgs{Size: ^uint32(0)}, "user.x"), syscall.EINVAL},
		{"request too large", c.encode(opSetxattr, node, xattrArgs{Size: 1 << 20}, "user.x", make([]byte, 1<<20)), syscall.E2BIG},
		{"xattr size lies", c.encode(opSetxattr, node, xattrArgs{Size: 100}, "user.x", []byte("value")), syscall.EINVAL},
		{"init of another major", c.encode(opInit, 0, struct{ Major, Minor, A, B uint32 }{8, 0, 0, 0}), syscall.EPROTO},
		{"init of an old minor", c.encode(opInit, 0, struct{ Major, Minor, A, B uint32 }{7, 8, 0, 0}), syscall.EPROTO},
		{"forget without count", c.encode(opForget, node), 0},
		{"batch forget of too many", c.encode(opBatchForget, 0, struct{ N, _ uint32 }{1 << 31, 0}, make([]byte, 15)), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, errno, n := c.raw([][]byte{test.in}, 4096)
			if errno != test.want || (n == 0) != (test.want == 0) {
				t.Errorf("%d bytes of reply, errno %v; want %v", n, errno, test.want)
			}
		})
	}
	if got := readFile(t, dir+"/file"); got != "content" {
		t.Errorf("file is now %q", got)
	}
}

// TestScatteredRequest cuts requests and replies at every place.
func TestScatteredRequest(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "")
	c := newClient(t, dir, Options{})
	node := c.lookup(rootNode, "file").NodeId
	file := c.open(node, syscall.O_RDWR)
	write := c.encode(opWrite, node, writeArg{Fh: file.Fh, Size: 9}, []byte("some data"))
	read := c.encode(opRead, node, readArgs{Fh: file.Fh, Size: 9})
	for cut := range len(write) {
		writeFile(t, dir+"/file", "")
		if _, errno, _ := c.raw([][]byte{write[:cut], nil, write[cut:]}, 8); errno != 0 {
			t.Fatalf("write cut at %d: %v", cut, errno)
		}
		reply := make([]byte, outHeaderSize+9)
		at := min(cut, len(reply))
		if n := c.HandleRequest([][]byte{read[:cut%len(read)], read[cut%len(read):]}, [][]byte{reply[:at], nil, reply[at:]}); n != len(reply) {
			t.Fatalf("read cut at %d: %d bytes", cut, n)
		}
		if got := string(reply[outHeaderSize:]); got != "some data" {
			t.Fatalf("cut at %d: read %q", cut, got)
		}
	}
}

// TestChangingInput rewrites a request once it was copied, as a guest may at any
// time: nothing of it may count any more.
func TestChangingInput(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/file", "x")
	c := newClient(t, dir, Options{})
	good := c.encode(opLookup, rootNode, "file")
	for range 500 {
		in := append([]byte(nil), good...)
		req, errno := readRequest([][]byte{in})
		if errno != 0 {
			t.Fatal(errno)
		}
		rand.Read(in)
		out := make([]byte, outHeaderSize+256)
		n := c.dispatch(req, [][]byte{out})
		req.release()
		if errno := int32(binary.NativeEndian.Uint32(out[4:])); errno != 0 || n == outHeaderSize {
			t.Fatalf("errno %d, %d bytes", errno, n)
		}
	}
}

// TestConcurrentForget forgets and closes files under requests that use them,
// which must get that file or an error, never another file whose descriptor took
// the number of the old one.
func TestConcurrentForget(t *testing.T) {
	dir := t.TempDir()
	for name := range 8 {
		writeFile(t, filepath.Join(dir, strconv.Itoa(name)), strconv.Itoa(name))
	}
	c := newClient(t, dir, Options{})
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 400 {
				name := strconv.Itoa((worker + i) % 8)
				reply, errno := c.call(opLookup, rootNode, name)
				if errno != 0 {
					t.Errorf("lookup: %v", errno)
					return
				}
				node := c.entry(reply)
				if reply, errno := c.call(opOpen, node.NodeId, openArgs{}); errno == 0 {
					var file fuse.OpenOut
					decode(t, reply, &file)
					if got, errno := c.read(node.NodeId, file.Fh, 0, 10); string(got) != name || errno != 0 {
						t.Errorf("%s holds %q, %v", name, got, errno)
					}
					c.call(opRelease, node.NodeId, releaseArgs{Fh: file.Fh})
				} else if errno != syscall.ESTALE {
					t.Errorf("open: %v", errno)
				}
				if reply, errno := c.call(opGetattr, node.NodeId, make([]byte, 16)); errno == 0 {
					var attr fuse.AttrOut
					decode(t, reply, &attr)
					if attr.Ino != node.Ino {
						t.Errorf("inode %d became %d", node.Ino, attr.Ino)
					}
				}
				c.call(opForget, node.NodeId, struct{ N uint64 }{uint64(1 + i%2)}) // at times too many
			}
		})
	}
	wg.Wait()
}

func TestNoRoomForReply(t *testing.T) {
	c := newClient(t, t.TempDir(), Options{})
	in := c.encode(opGetattr, rootNode, make([]byte, 16))
	for room, want := range map[int]int{0: 0, outHeaderSize - 1: 0, outHeaderSize: outHeaderSize, outHeaderSize + 103: outHeaderSize} {
		if n := c.HandleRequest([][]byte{in}, [][]byte{make([]byte, room)}); n != want {
			t.Errorf("room for %d bytes: wrote %d, want %d", room, n, want)
		}
	}
}

func TestDescriptorBudget(t *testing.T) {
	dir := t.TempDir()
	for name := range strings.FieldsSeq("a b c d") {
		writeFile(t, filepath.Join(dir, name), name)
	}
	c := newClient(t, dir, Options{Budget: NewBudget(4)})
	var nodes []uint64
	for name := range strings.FieldsSeq("a b c") {
		nodes = append(nodes, c.lookup(rootNode, name).NodeId)
	}
	file := c.open(nodes[0], syscall.O_RDONLY)
	if _, errno := c.call(opLookup, rootNode, "d"); errno != syscall.ENFILE {
		t.Errorf("lookup past the budget: %v", errno)
	}
	if _, errno := c.call(opOpen, nodes[1], openArgs{}); errno != syscall.ENFILE {
		t.Errorf("open past the budget: %v", errno)
	}
	if _, errno := c.call(opCreate, rootNode, createArgs{Flags: syscall.O_RDWR}, "e"); errno != syscall.ENFILE {
		t.Errorf("create past the budget: %v", errno)
	}
	c.release(nodes[0], file.Fh)
	if _, errno := c.call(opCreate, rootNode, createArgs{Flags: syscall.O_RDWR}, "e"); errno != syscall.ENFILE {
		t.Errorf("create, which needs two: %v", errno)
	}
	if _, err := os.Stat(dir + "/e"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("refused create left a file: %v", err)
	}
	c.lookup(rootNode, "d")
}

func TestLogIsLimited(t *testing.T) {
	var buf strings.Builder
	logger := slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(t.TempDir(), Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 1000 {
		s.HandleRequest(nil, nil)
	}
	if lines := strings.Count(buf.String(), "\n"); lines == 0 || lines > 3*guestlog.Burst {
		t.Errorf("%d log lines for 1000 bad requests", lines)
	}
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
