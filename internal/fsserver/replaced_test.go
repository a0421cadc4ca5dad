package fsserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// copyOf copies a tree to a fresh directory.
func copyOf(t testing.TB, root string) string {
	t.Helper()
	dst := t.TempDir()
	if err := os.CopyFS(dst, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestReplacedDirectory: a session goes on in a copy of its directory, where some files
// are not as they were.
func TestReplacedDirectory(t *testing.T) {
	root := t.TempDir()
	c := newClient(t, root, Options{})
	dir := c.mkdir(rootNode, "dir", 0o755)
	file := c.create(dir.NodeId, "file", unix.O_RDWR, 0o644)
	c.write(file.NodeId, file.Fh, 0, []byte("before"))
	log := c.create(dir.NodeId, "log", unix.O_WRONLY|unix.O_APPEND, 0o644)
	c.write(log.NodeId, log.Fh, 0, []byte("one "))
	removed := c.create(dir.NodeId, "removed", unix.O_RDONLY, 0o644)
	kind := c.create(dir.NodeId, "kind", unix.O_RDONLY, 0o644)
	if err := os.Symlink("file", filepath.Join(root, "dir/link")); err != nil {
		t.Fatal(err)
	}
	link := c.lookup(dir.NodeId, "link")
	state := c.save()

	other := copyOf(t, root)
	at := func(name string) string { return filepath.Join(other, "dir", name) }
	if err := firstError(os.Remove(at("removed")), os.Remove(at("kind")), os.Mkdir(at("kind"), 0o755), os.WriteFile(at("log"), []byte("another "), 0o644)); err != nil {
		t.Fatal(err)
	}
	strict, err := New(other, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	if err := strict.LoadState(state); err == nil || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("without Replaced: %v", err)
	}

	d := c.successor(other, Options{Replaced: true}, func() {})
	if got, errno := d.read(file.NodeId, file.Fh, 0, 100); errno != 0 || string(got) != "before" {
		t.Errorf("read %q, %v", got, errno)
	}
	if _, errno := d.write(file.NodeId, file.Fh, 6, []byte(" and after")); errno != 0 {
		t.Errorf("write: %v", errno)
	}
	if _, errno := d.writeWith(log.NodeId, writeArg{Fh: log.Fh, Off: 4, Size: 3, Flags: unix.O_APPEND}, []byte("two")); errno != 0 {
		t.Errorf("append: %v", errno)
	}
	for path, want := range map[string]string{at("file"): "before and after", at("log"): "another two", filepath.Join(root, "dir/file"): "before", filepath.Join(root, "dir/log"): "one "} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s has %q, want %q: %v", path, got, want, err)
		}
	}
	if got := d.must(opReadlink, link.NodeId); string(got) != "file" {
		t.Errorf("the link is %q", got)
	}
	if got := d.lookup(dir.NodeId, "file"); got.NodeId != file.NodeId {
		t.Errorf("the file is node %d now, was %d", got.NodeId, file.NodeId)
	}
	for name, lost := range map[string]struct{ node, fh uint64 }{"removed": {removed.NodeId, removed.Fh}, "kind": {kind.NodeId, kind.Fh}} {
		d.wantErrno(name, syscall.ESTALE, opGetattr, lost.node, make([]byte, 16))
		d.wantErrno(name, syscall.ESTALE, opRead, lost.node, readArgs{Fh: lost.fh, Size: 10})
	}
	if got := d.lookup(dir.NodeId, "kind"); got.NodeId == kind.NodeId {
		t.Error("a directory has the node id of a file")
	}
}

// TestTwoFilesBecomeOne: where the copy has two names for what were two files, both
// nodes work, and neither goes with the other.
func TestTwoFilesBecomeOne(t *testing.T) {
	for forgotten := range 2 {
		root, other := t.TempDir(), t.TempDir()
		c := newClient(t, root, Options{})
		files := []fuse.CreateOut{c.create(rootNode, "a", unix.O_RDWR, 0o644), c.create(rootNode, "b", unix.O_RDWR, 0o644)}
		at := func(name string) string { return filepath.Join(other, name) }
		if err := firstError(os.WriteFile(at("a"), []byte("both"), 0o644), os.Link(at("a"), at("b"))); err != nil {
			t.Fatal(err)
		}
		d := c.successor(other, Options{Replaced: true}, func() {})
		for _, f := range files {
			if got, errno := d.read(f.NodeId, f.Fh, 0, 10); errno != 0 || string(got) != "both" {
				t.Errorf("node %d: %q, %v", f.NodeId, got, errno)
			}
		}
		d.call(opForget, files[forgotten].NodeId, uint64(1))
		d.wantErrno("forgotten", syscall.ESTALE, opGetattr, files[forgotten].NodeId, make([]byte, 16))
		d.getattr(files[1-forgotten].NodeId)
		d.getattr(d.lookup(rootNode, "a").NodeId)
	}
}

// TestThreeServers: an original and two copies of its session in one directory find what
// the others do.
func TestThreeServers(t *testing.T) {
	root := t.TempDir()
	c := newClient(t, root, Options{})
	log := c.create(rootNode, "log", unix.O_RDWR|unix.O_APPEND, 0o644)
	all := []*client{c}
	for range 2 {
		s, err := New(root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := s.LoadState(c.save()); err != nil {
			t.Fatal(err)
		}
		all = append(all, &client{TB: t, Server: s})
	}
	for i, s := range all {
		text := fmt.Sprintf("%d ", i)
		if _, errno := s.writeWith(log.NodeId, writeArg{Fh: log.Fh, Size: 2, Flags: unix.O_APPEND}, []byte(text)); errno != 0 {
			t.Errorf("append: %v", errno)
		}
		s.create(rootNode, "new"+text, unix.O_RDWR, 0o644)
	}
	for i, s := range all {
		if got, errno := s.read(log.NodeId, log.Fh, 0, 100); errno != 0 || string(got) != "0 1 2 " {
			t.Errorf("server %d reads %q, %v", i, got, errno)
		}
		for j := range all {
			s.lookup(rootNode, fmt.Sprintf("new%d ", j))
		}
		s.wantErrno("made by another", syscall.EEXIST, opCreate, rootNode, createArgs{Flags: unix.O_RDWR | unix.O_EXCL, Mode: 0o644}, fmt.Sprintf("new%d ", (i+1)%3))
	}
}

// manyNodes is the state of a session that knows n files in directories of 100, and has
// one of them in ten open.
func manyNodes(t testing.TB, root string, n int) []byte {
	c := newClient(t, root, Options{})
	var dir uint64
	for i := range n {
		if i%100 == 0 {
			dir = c.mkdir(rootNode, fmt.Sprint("directory", i), 0o755).NodeId
		}
		f := c.create(dir, fmt.Sprint("file", i), unix.O_RDWR, 0o644)
		if i%10 != 0 {
			c.release(f.NodeId, f.Fh)
		}
	}
	state := c.save()
	c.Close()
	return state
}

// TestLoadHoldsWhatWasHeld: no more descriptors than the session had before.
func TestLoadHoldsWhatWasHeld(t *testing.T) {
	root := t.TempDir()
	state := manyNodes(t, root, 1000)
	for budget, want := range map[int]error{1000 + 10 + 100: nil, 1000 + 10 + 99: unix.ENFILE} {
		s, err := New(root, Options{Budget: NewBudget(budget)})
		if err != nil {
			t.Fatal(err)
		}
		err = s.LoadState(state)
		if !errors.Is(err, want) {
			t.Errorf("a budget of %d: %v", budget, err)
		}
		if err == nil && s.fs.budget.used.Load() != int64(budget) {
			t.Errorf("%d descriptors of %d", s.fs.budget.used.Load(), budget)
		}
		s.Close()
		if left := s.fs.budget.used.Load(); left != 0 {
			t.Errorf("%d descriptors are left", left)
		}
	}
}

func BenchmarkState(b *testing.B) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 16000 {
		b.Skipf("a process may have %d descriptors only", limit.Cur)
	}
	root := b.TempDir()
	state := manyNodes(b, root, 10000)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			s, err := New(root, Options{})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.LoadState(state); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			s.Close()
			b.StartTimer()
		}
	})
	b.Run("save", func(b *testing.B) {
		s, err := New(root, Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		if err := s.LoadState(state); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := s.SaveState(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(state)), "B/state")
	})
}
