package diskimage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOneWriterOrManyReaders(t *testing.T) {
	path := image(t, 4096)
	dir := t.TempDir()
	hard, soft := filepath.Join(filepath.Dir(path), "hard"), filepath.Join(dir, "soft")
	if err := os.Link(path, hard); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, soft); err != nil {
		t.Fatal(err)
	}
	for _, second := range []string{path, hard, soft} {
		for _, c := range []struct {
			name        string
			first, then bool // read-only
			ok          bool
		}{
			{"two writers", false, false, false},
			{"a writer, then a reader", false, true, false},
			{"a reader, then a writer", true, false, false},
			{"two readers", true, true, true},
		} {
			a, err := Open(path, c.first)
			if err != nil {
				t.Fatalf("%s: the image was not given up: %v", c.name, err)
			}
			b, err := Open(second, c.then)
			if err == nil {
				b.Close()
			}
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInUse) {
				t.Errorf("%s of %s: %v", c.name, filepath.Base(second), err)
			}
			a.Close()
		}
	}
}

// TestQEMU plays QEMU and its tools: they lock single bytes, all of them shared, and
// then look whether somebody has the bytes of the other kind.
func TestQEMU(t *testing.T) {
	writer := qemu{locks: []int64{100, 101, 103, 201, 203}, looks: []int64{200, 201, 203, 101, 103}}
	reader := qemu{locks: []int64{100, 201, 203}, looks: []int64{200, 101, 103}}
	for _, c := range []struct {
		name     string
		peer     qemu
		readOnly bool
		ok       bool
	}{
		{"writer and its writer", writer, false, false},
		{"writer and its reader", reader, false, false},
		{"reader and its writer", writer, true, false},
		{"reader and its reader", reader, true, true},
	} {
		path := image(t, 4096)
		f, err := Open(path, c.readOnly)
		if err != nil {
			t.Fatal(err)
		}
		if ok := c.peer.opens(t, path); ok != c.ok {
			t.Errorf("%s, ours first: the second got it: %v", c.name, ok)
		}
		f.Close()

		if !c.peer.opens(t, path) { // holds it until the test's end
			t.Fatalf("%s: a free image is refused", c.name)
		}
		f, err = Open(path, c.readOnly)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInUse) {
			t.Errorf("%s, its first: %v", c.name, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

// TestCloseUnlocks: a child that is being started has our descriptors for a moment,
// until it runs a program of its own. An image that was closed is free all the same.
func TestCloseUnlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		f, err := Open(path, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		childs, err := unix.Dup(f.fd)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(childs)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		next, err := Open(path, false)
		if err != nil {
			t.Fatalf("after one that was read-only: %v: %v", readOnly, err)
		}
		next.Close()
	}
}

// qemu is a program that uses QEMU's image locks.
type qemu struct{ locks, looks []int64 }

func (q qemu) opens(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range q.locks {
		if unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: 1}) != nil {
			f.Close()
			return false
		}
	}
	for _, at := range q.looks {
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
			t.Fatal(err)
		}
		if l.Type != unix.F_UNLCK {
			f.Close()
			return false
		}
	}
	t.Cleanup(func() { f.Close() })
	return true
}
