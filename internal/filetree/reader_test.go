package filetree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReaderSorts(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "-", "a-", "\xff"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, name, "f"), nil, 0o600))
	}
	src, err := Open(dir, ReadOptions{})
	must(t, err)
	defer src.Close()
	want := []string{".", "-", "-/f", "a", "a/f", "a-", "a-/f", "b", "b/f", "\xff", "\xff/f"}
	if got, _ := listed(t, src); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, _, err := src.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// More names than are held at a time, with directories among them.
func TestReaderOfLargeDirectory(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "large")
	must(t, os.Mkdir(dir, 0o700))
	for i := range maxNames + 1000 {
		must(t, unix.Mkfifo(filepath.Join(dir, fmt.Sprint(i)), 0o600))
	}
	for i := range 50 {
		must(t, os.MkdirAll(filepath.Join(dir, fmt.Sprint("dir", i), "sub"), 0o700))
	}
	src, err := Open(top, ReadOptions{})
	must(t, err)
	defer src.Close()
	paths, _ := listed(t, src)
	slices.Sort(paths)
	if want := 2 + maxNames + 1000 + 100; len(slices.Compact(paths)) != want {
		t.Errorf("%d entries, want %d", len(paths), want)
	}
}

func TestReaderOfWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	must(t, err)
	defer socket.Close()
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))

	src, err := Open(dir, ReadOptions{})
	must(t, err)
	defer src.Close()
	if got, _ := listed(t, src); !slices.Equal(got, []string{".", "dangling", "loop"}) {
		t.Errorf("got %q: a socket is left out", got)
	}
	for _, name := range []string{"socket", "dangling", "loop", "missing", "dangling/x", ""} {
		path := filepath.Join(dir, name)
		if name == "" {
			path = ""
		}
		src, err := Open(path, ReadOptions{Follow: true})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", path)) {
			t.Errorf("%q: %v, want an error that names it", name, err)
			src.Close()
		}
	}
	if _, err := Open(filepath.Join(dir, "missing"), ReadOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestReaderNamesTheFileThatFails(t *testing.T) {
	src, err := Open("/proc/self/mem", ReadOptions{}) // address 0 is not mapped
	must(t, err)
	defer src.Close()
	_, data, err := src.Next()
	must(t, err)
	if _, err = io.ReadAll(data); !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "/proc/self/mem") {
		t.Errorf("got %v", err)
	}

	if root {
		return // may read everything
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "secret"), nil, 0))
	all, err := Open(dir, ReadOptions{})
	must(t, err)
	defer all.Close()
	_, _, err = all.Next()
	must(t, err)
	if _, _, err = all.Next(); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "/secret") {
		t.Errorf("got %v", err)
	}
}

func TestReaderSkipsWhatVanishes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/x", "b/x", "b/y", "c/x", "d/x", "e"} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	src, err := Open(dir, ReadOptions{})
	must(t, err)
	defer src.Close()
	// What happens after an entry was read.
	after := map[string]func(){
		"a": func() { must(t, os.RemoveAll(filepath.Join(dir, "a"))) },
		"b/x": func() {
			must(t, os.RemoveAll(filepath.Join(dir, "b")))
			must(t, os.Symlink("/", filepath.Join(dir, "b")))
			must(t, os.RemoveAll(filepath.Join(dir, "c")))
			must(t, os.WriteFile(filepath.Join(dir, "c"), []byte("a file now"), 0o600))
		},
		"d": func() {
			must(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "d2")))
			must(t, os.Symlink("/etc", filepath.Join(dir, "d")))
		},
	}
	var got []string
	for {
		e, _, err := src.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		got = append(got, string(e.Path))
		if f := after[string(e.Path)]; f != nil {
			f()
		}
	}
	if want := []string{".", "a", "b", "b/x", "c", "d", "d/x", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Somebody keeps exchanging directories of the tree for links out of it.
func TestReaderStaysInTheTree(t *testing.T) {
	dir := t.TempDir()
	outside, top := filepath.Join(dir, "outside"), filepath.Join(dir, "top")
	must(t, os.MkdirAll(filepath.Join(outside, "sub"), 0o700))
	must(t, os.MkdirAll(filepath.Join(top, "d", "sub"), 0o700))
	for _, in := range []string{"f", "sub/f"} {
		must(t, os.WriteFile(filepath.Join(outside, in), []byte("secret"), 0o600))
		must(t, os.WriteFile(filepath.Join(top, "d", in), []byte("harmless"), 0o600))
	}
	must(t, os.Symlink(outside, filepath.Join(top, "link")))
	attack(t, filepath.Join(top, "d"), filepath.Join(top, "link"))
	for range 300 {
		src, err := Open(top, ReadOptions{})
		must(t, err)
		_, data := listed(t, src)
		must(t, src.Close())
		for path, text := range data {
			if text == "secret" {
				t.Fatalf("%s was read through a link", path)
			}
		}
	}
}

func TestReaderKnowsLinksOnce(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("text"), 0o600))
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "c")))
	src, err := Open(dir, ReadOptions{})
	must(t, err)
	defer src.Close()
	_, data := listed(t, src)
	if len(data) != 1 || data["a"] != "text" {
		t.Errorf("data of %q, want those of a", data)
	}
	if len(src.links) != 0 {
		t.Errorf("%d files are remembered after their last name", len(src.links))
	}
}
