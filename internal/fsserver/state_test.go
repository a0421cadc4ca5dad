package fsserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

func (c *client) save() []byte {
	c.Helper()
	state, err := c.SaveState()
	if err != nil {
		c.Fatal(err)
	}
	return state
}

// successor serves root with what c's session was, after between.
func (c *client) successor(root string, opts Options, between func()) *client {
	c.Helper()
	state := c.save()
	if err := c.Close(); err != nil {
		c.Fatal(err)
	}
	between()
	opts.Logger = nil
	s, err := New(root, opts)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { s.Close() })
	if err := s.LoadState(state); err != nil {
		c.Fatal(err)
	}
	return &client{TB: c.TB, Server: s}
}

// errnoOf is what a request is answered with.
func (c *client) wantErrno(what string, want syscall.Errno, opcode uint32, node uint64, parts ...any) {
	c.Helper()
	if _, errno := c.call(opcode, node, parts...); errno != want {
		c.Errorf("%s: %v, want %v", what, errno, want)
	}
}

func TestSessionGoesOn(t *testing.T) {
	root := t.TempDir()
	c := newClient(t, root, Options{})
	dir := c.mkdir(rootNode, "dir \xff", 0o755)
	file := c.create(dir.NodeId, "file", unix.O_RDWR, 0o644)
	c.write(file.NodeId, file.Fh, 0, []byte("before"))
	other := c.create(rootNode, "other", unix.O_WRONLY|unix.O_APPEND, 0o600)
	if err := os.Symlink("dir", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	link := c.lookup(rootNode, "link")
	c.lookup(rootNode, "link")
	saved := c.save()
	d := c.successor(root, Options{}, func() {
		if err := os.Rename(filepath.Join(root, "other"), filepath.Join(root, "elsewhere")); err != nil {
			t.Fatal(err)
		}
	})
	if again := d.save(); bytes.Equal(again, saved) {
		t.Error("nothing was lost")
	}
	if got, errno := d.read(file.NodeId, file.Fh, 0, 100); errno != 0 || string(got) != "before" {
		t.Errorf("read %q, %v", got, errno)
	}
	if _, errno := d.write(file.NodeId, file.Fh, 6, []byte(" and after")); errno != 0 {
		t.Errorf("write: %v", errno)
	}
	if got, _ := os.ReadFile(filepath.Join(root, "dir \xff", "file")); string(got) != "before and after" {
		t.Errorf("the file has %q", got)
	}
	if got := d.lookup(dir.NodeId, "file"); got.NodeId != file.NodeId {
		t.Errorf("the file is node %d now, was %d", got.NodeId, file.NodeId)
	}
	if got := d.must(opReadlink, link.NodeId); string(got) != "dir" {
		t.Errorf("the link is %q", got)
	}
	d.wantErrno("moved", syscall.ESTALE, opGetattr, other.NodeId, make([]byte, 16))
	d.wantErrno("moved, open", syscall.ESTALE, opWrite, other.NodeId, writeArg{Fh: other.Fh, Size: 1}, []byte("x"))
	d.release(other.NodeId, other.Fh)
	d.wantErrno("moved, closed", syscall.EBADF, opWrite, other.NodeId, writeArg{Fh: other.Fh, Size: 1}, []byte("x"))
	if node := d.lookup(rootNode, "elsewhere"); node.NodeId <= max(other.NodeId, link.NodeId) {
		t.Errorf("a new file got the node id %d of an old one", node.NodeId)
	}
	if fresh := d.open(file.NodeId, unix.O_RDONLY); fresh.Fh <= other.Fh || fresh.OpenFlags&fuse.FOPEN_KEEP_CACHE != 0 {
		t.Errorf("open gave handle %d with flags %#x, the last was %d", fresh.Fh, fresh.OpenFlags, other.Fh)
	}
	used := d.fs.budget.used.Load()
	d.must(opForget, link.NodeId, uint64(2))
	if now := d.fs.budget.used.Load(); now != used-1 {
		t.Errorf("%d descriptors after a forget, %d before", now, used)
	}
	d.Close()
	if left := d.fs.budget.used.Load(); left != 0 {
		t.Errorf("%d descriptors are left of the budget at the end", left)
	}
}

// TestDirectoryGoesOn: the guest says where in the directory it is.
func TestDirectoryGoesOn(t *testing.T) {
	root := t.TempDir()
	for i := range 30 {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprint("file", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, root, Options{})
	var opened fuse.OpenOut
	decode(t, c.must(opOpendir, rootNode, openArgs{}), &opened)
	var first struct{ Ino, Off uint64 }
	decode(t, c.must(opReaddir, rootNode, readArgs{Fh: opened.Fh, Size: 200}), &first)
	all := c.must(opReaddir, rootNode, readArgs{Fh: opened.Fh, Size: 4096})
	rest := c.must(opReaddir, rootNode, readArgs{Fh: opened.Fh, Off: first.Off, Size: 4096})
	d := c.successor(root, Options{}, func() {})
	for off, want := range map[uint64][]byte{first.Off: rest, 0: all} {
		if got := d.must(opReaddir, rootNode, readArgs{Fh: opened.Fh, Off: off, Size: 4096}); !bytes.Equal(got, want) {
			t.Errorf("from %d the directory goes on with\n%q, it was\n%q", off, got, want)
		}
	}
}

func TestStateIsTheSameAgain(t *testing.T) {
	root := t.TempDir()
	c := newClient(t, root, Options{})
	for i := range 20 {
		d := c.mkdir(rootNode, fmt.Sprint("d", i), 0o755)
		c.create(d.NodeId, "f", uint32(i%3)|unix.O_SYNC*uint32(i&1), 0o600)
	}
	saved := c.save()
	if again := c.successor(root, Options{}, func() {}).save(); !bytes.Equal(saved, again) {
		t.Errorf("saved %s\nloaded and saved %s", saved, again)
	}
}

func TestStateBeforeInit(t *testing.T) {
	root := t.TempDir()
	s, err := New(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := (&client{TB: t, Server: s}).successor(root, Options{}, func() {})
	c.wantErrno("before init", syscall.EIO, opGetattr, rootNode, make([]byte, 16))
	c.init()
	c.getattr(rootNode)
}

// TestLostFiles: what is under the path is not what was there.
func TestLostFiles(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"removed", func() error { return os.Remove(at("dir/file")) }},
		{"replaced", func() error {
			return firstError(os.WriteFile(at("new"), nil, 0o600), os.Rename(at("new"), at("dir/file")))
		}},
		{"behind a symlink", func() error { return firstError(os.Rename(at("dir"), at("real")), os.Symlink("real", at("dir"))) }},
		{"a symlink to itself", func() error {
			return firstError(os.Rename(at("dir/file"), at("f")), os.Symlink("../f", at("dir/file")))
		}},
		{"out of the directory", func() error { return os.Rename(at("dir"), filepath.Join(t.TempDir(), "dir")) }},
		{"two names, one gone", func() error { return firstError(os.Link(at("dir/file"), at("f")), os.Remove(at("dir/file"))) }},
	} {
		t.Run(change.name, func(t *testing.T) {
			if err := firstError(os.RemoveAll(root), os.MkdirAll(at("dir"), 0o755), os.WriteFile(at("kept"), []byte("kept"), 0o600)); err != nil {
				t.Fatal(err)
			}
			c := newClient(t, root, Options{})
			file := c.create(c.lookup(rootNode, "dir").NodeId, "file", unix.O_RDWR, 0o600)
			kept := c.lookup(rootNode, "kept")
			keptOpen := c.open(kept.NodeId, unix.O_RDONLY)
			d := c.successor(root, Options{}, func() {
				if err := change.do(); err != nil {
					t.Fatal(err)
				}
			})
			d.wantErrno("attributes", syscall.ESTALE, opGetattr, file.NodeId, make([]byte, 16))
			d.wantErrno("read", syscall.ESTALE, opRead, file.NodeId, readArgs{Fh: file.Fh, Size: 10})
			if got, errno := d.read(kept.NodeId, keptOpen.Fh, 0, 10); errno != 0 || string(got) != "kept" {
				t.Errorf("the other file: %q, %v", got, errno)
			}
			e := d.successor(root, Options{}, func() {}) // and what is lost stays lost
			e.wantErrno("read", syscall.ESTALE, opRead, file.NodeId, readArgs{Fh: file.Fh, Size: 10})
			e.release(file.NodeId, file.Fh)
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestUnlinkedOpenFile: without a name a file ends with its descriptor.
func TestUnlinkedOpenFile(t *testing.T) {
	root := t.TempDir()
	c := newClient(t, root, Options{})
	file := c.create(rootNode, "file", unix.O_RDWR, 0o600)
	c.must(opUnlink, rootNode, "file")
	d := c.successor(root, Options{}, func() {
		if err := os.WriteFile(filepath.Join(root, "file (deleted)"), []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	d.wantErrno("read", syscall.ESTALE, opRead, file.NodeId, readArgs{Fh: file.Fh, Size: 10})
}

func TestReadOnlySuccessor(t *testing.T) {
	root := t.TempDir()
	c := newClient(t, root, Options{})
	file := c.create(rootNode, "file", unix.O_RDWR, 0o600)
	d := c.successor(root, Options{ReadOnly: true}, func() {})
	d.wantErrno("write", syscall.EROFS, opWrite, file.NodeId, writeArg{Fh: file.Fh, Size: 1}, []byte("x"))
	d.wantErrno("read", syscall.ESTALE, opRead, file.NodeId, readArgs{Fh: file.Fh, Size: 10})
	d.getattr(file.NodeId)
}

func TestLoadBadState(t *testing.T) {
	root := t.TempDir()
	if err := firstError(os.WriteFile(filepath.Join(root, "a"), nil, 0o600), os.WriteFile(filepath.Join(root, "b"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, root, Options{})
	c.open(c.lookup(rootNode, "a").NodeId, unix.O_RDONLY)
	c.open(c.lookup(rootNode, "b").NodeId, unix.O_RDONLY)
	for _, bad := range []struct {
		err    string
		budget int
		change func(*State)
	}{
		{err: "version is 2", change: func(s *State) { s.Version = 2 }},
		{err: "init", change: func(s *State) { s.Init[0] = 6 }},
		{err: "init", change: func(s *State) { s.Init = s.Init[:12] }},
		{err: "init", change: func(s *State) { s.Init = append(s.Init, 0) }},
		{err: "agreed", change: func(s *State) { s.InitReply[12]++ }},
		{err: "without init", change: func(s *State) { s.Init = nil }},
		{err: "another directory", change: func(s *State) { s.Root.Ino++ }},
		{err: "number 1", change: func(s *State) { s.Nodes[0].ID = 1 }},
		{err: "number 9223372036854775808", change: func(s *State) { s.Nodes[0].ID = rootAlias }},
		{err: "never looked up", change: func(s *State) { s.Nodes[0].Lookups = 0 }},
		{err: "possible path", change: func(s *State) { s.Nodes[0].Path = make([]byte, 5000) }},
		{err: "possible path", change: func(s *State) { s.Nodes[0].Path = []byte("a\x00") }},
		{err: "there twice", change: func(s *State) { s.Nodes[0].ID = s.Nodes[1].ID }},
		{err: "before its time", change: func(s *State) { s.NextNode = s.Nodes[1].ID }},
		{err: "used up", change: func(s *State) { s.NextNode = 1<<62 + 1 }},
		{err: "number 0", change: func(s *State) { s.Handles[0].ID = 0 }},
		{err: "there twice", change: func(s *State) { s.Handles[0].ID = s.Handles[1].ID }},
		{err: "flags 0x200", change: func(s *State) { s.Handles[0].Flags = unix.O_TRUNC }},
		{err: "flags 0x3", change: func(s *State) { s.Handles[0].Flags = 3 }},
		{err: "too many open files", budget: 3, change: func(*State) {}},
	} {
		var st State
		if err := json.Unmarshal(c.save(), &st); err != nil {
			t.Fatal(err)
		}
		bad.change(&st)
		state, err := json.Marshal(&st)
		if err != nil {
			t.Fatal(err)
		}
		if bad.budget == 0 {
			bad.budget = 100
		}
		budget := NewBudget(bad.budget)
		d := newClient(t, root, Options{Budget: budget})
		if err := d.LoadState(state); err == nil || !strings.Contains(err.Error(), bad.err) {
			t.Errorf("error %v, want %q", err, bad.err)
		}
		if err := d.LoadState(nil); err == nil {
			t.Error("no state at all is accepted")
		}
		d.init()
		d.getattr(rootNode)
		if n := budget.used.Load(); n != 0 {
			t.Errorf("%s: %d descriptors stay open", bad.err, n)
		}
	}
}

// TestHostilePaths: a state is from anywhere and must not lead out.
func TestHostilePaths(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(secret, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	id, _, err := identify(fd)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := firstError(os.Symlink(outside, filepath.Join(root, "out")), os.Symlink(secret, filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, root, Options{})
	for _, path := range []string{
		secret, "out/secret", "link", "../" + secret[1:], strings.Repeat("../", 20) + secret[1:],
		"/proc/self/fd/" + fmt.Sprint(fd), ".", "", "/",
	} {
		var s State
		if err := json.Unmarshal(c.save(), &s); err != nil {
			t.Fatal(err)
		}
		s.Nodes = []NodeState{{ID: 5, Lookups: 1, File: id, Path: []byte(path)}}
		s.Handles = []HandleState{{ID: 7, Node: 5}}
		s.NextNode, s.NextHandle = 6, 8
		state, _ := json.Marshal(&s)
		for _, replaced := range []bool{false, true} { // then nobody compares the file
			d := newClient(t, root, Options{Replaced: replaced})
			if err := d.LoadState(state); err != nil {
				t.Fatal(err)
			}
			d.wantErrno(path, syscall.ESTALE, opRead, 5, readArgs{Fh: 7, Size: 10})
		}
	}
}
