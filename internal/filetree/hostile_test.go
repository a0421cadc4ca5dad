package filetree

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

// trap makes a directory to write to and one outside of it, with all kinds of ways from
// the former to the latter, and returns both.
func trap(t testing.TB) (top, outside string) {
	t.Helper()
	tmp := t.TempDir()
	top, outside = filepath.Join(tmp, "top"), filepath.Join(tmp, "outside")
	must(t, os.MkdirAll(filepath.Join(outside, "sub"), 0o750))
	must(t, os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o640))
	must(t, unix.Mkfifo(filepath.Join(outside, "fifo"), 0o640))
	must(t, os.MkdirAll(filepath.Join(top, "d"), 0o755))
	must(t, os.Symlink("../outside", filepath.Join(top, "rel")))
	must(t, os.Symlink(outside, filepath.Join(top, "abs")))
	must(t, os.Symlink("../../outside/canary", filepath.Join(top, "d", "c")))
	must(t, os.Symlink("../outside/new", filepath.Join(top, "dangling")))
	must(t, os.Link(filepath.Join(outside, "canary"), filepath.Join(top, "same")))
	must(t, os.Link(filepath.Join(outside, "fifo"), filepath.Join(top, "pipe")))
	return top, outside
}

func TestHostileEntries(t *testing.T) {
	const all = 0o7777
	file := func(path string) agentproto.Entry {
		return agentproto.Entry{Path: agentproto.Name(path), Mode: typeFile | all}
	}
	hard := func(path, target string) agentproto.Entry {
		return agentproto.Entry{Path: agentproto.Name(path), Mode: typeFile | all, HardLink: true, Target: agentproto.Name(target)}
	}
	soft := func(path, target string) agentproto.Entry {
		return agentproto.Entry{Path: agentproto.Name(path), Mode: typeLink | all, Target: agentproto.Name(target)}
	}
	folder := func(path string) agentproto.Entry {
		return agentproto.Entry{Path: agentproto.Name(path), Mode: typeDir | all}
	}
	pipe := func(path string) agentproto.Entry {
		return agentproto.Entry{Path: agentproto.Name(path), Mode: typeFIFO | all}
	}
	type tree = []agentproto.Entry
	for _, entries := range []tree{
		{file("../outside/canary")},
		{file("d/../../outside/canary")},
		{file("/etc/holt-was-here")},
		{file("..")}, {file("")}, {file("/")}, {file("./x")}, {file("d/")}, {file("d//x")}, {file("x\x00")},
		{file(strings.Repeat("x", 256))}, {file(strings.Repeat("x/", 3000) + "x")},
		{{Path: "x", Mode: all}}, {{Path: "x", Mode: unix.S_IFSOCK | all}}, {{Path: "x", Mode: 1<<20 | typeFile}},
		{soft("x", "")}, {soft("x", strings.Repeat("y", 4096))}, {soft("x", "a\x00b")},
		{hard("x", "../outside/canary")}, {hard("x", "/etc/passwd")}, {hard("x", "")}, {hard("x", ".")},
		{hard("same", "same")}, {hard(".", "same")}, {hard("d", "same")},
		{{Path: "x", Mode: typeDir | all, HardLink: true, Target: "d"}},
		{file("rel/canary")}, {file("abs/canary")}, {file("abs/new")}, {folder("abs/new")}, {folder("rel/sub")},
		{folder("rel")}, {folder("abs/a/b/c")}, {soft("rel/x", "y")}, {pipe("rel/x")},
		{hard("x", "rel/canary"), file("x")}, {hard("rel/x", "same")},
		{soft("x", "../outside"), file("x/canary")},
		{folder("d"), file("d/1"), soft("d", "../outside"), file("d/canary")},
		{folder("new"), file("new/1"), soft("new", "../outside"), file("new/canary")},
		{soft(".", "outside"), file("canary"), folder("."), file("canary")},
		{file("."), file("canary")},
	} {
		t.Run(fmt.Sprintf("%.60q", fmt.Sprint(entries)), func(t *testing.T) {
			top, outside := trap(t)
			want := snapshot(t, outside)
			if err := put(t, top, WriteOptions{Chown: true, Devices: true}, entries...); err == nil {
				t.Error("no error")
			}
			same(t, snapshot(t, outside), want)
		})
	}
	for _, entries := range []tree{
		{file("d/c")}, {file("same")}, {file("pipe")}, {file("dangling")}, {file("rel")}, {pipe("same")}, {soft("same", "x")},
		{pipe("pipe")}, {hard("x", "same")}, {hard("x", "d/c")}, {hard("x", "abs"), file("x")}, {hard("x", "pipe")},
		{hard("rel", "same")}, {folder("d"), folder("d"), file("d/x"), file("d/x")},
		{soft("x", "../outside"), soft("x", "/"), file("x")},
	} {
		t.Run(fmt.Sprintf("harmless %.60q", fmt.Sprint(entries)), func(t *testing.T) {
			top, outside := trap(t)
			want := snapshot(t, outside)
			if err := put(t, top, WriteOptions{}, entries...); err != nil {
				t.Error(err)
			}
			same(t, snapshot(t, outside), want)
		})
	}
}

// A tree whose top is a link that it brings itself.
func TestHostileTop(t *testing.T) {
	_, outside := trap(t)
	want := snapshot(t, outside)
	top := filepath.Join(filepath.Dir(outside), "does not exist yet")
	err := put(t, top, WriteOptions{},
		agentproto.Entry{Path: ".", Mode: typeLink, Target: "outside"},
		agentproto.Entry{Path: "canary", Mode: typeFile},
		agentproto.Entry{Path: ".", Mode: typeDir},
		agentproto.Entry{Path: "sub", Mode: typeDir},
		agentproto.Entry{Path: "canary", Mode: typeFile},
	)
	if err == nil {
		t.Error("no error")
	}
	same(t, snapshot(t, outside), want)
}

// attack exchanges two paths until the test ends.
func attack(t *testing.T, a, b string) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	t.Cleanup(func() { close(stop); done.Wait() })
}

// Somebody keeps exchanging what is written for links out of the tree.
func TestWriterStaysInTheTree(t *testing.T) {
	top, outside := trap(t)
	want := snapshot(t, outside)
	for _, name := range []string{"d", "e", "n", "m"} {
		must(t, os.MkdirAll(filepath.Join(top, name), 0o755))
	}
	must(t, os.Symlink("../outside/canary", filepath.Join(top, "n", "link")))
	attack(t, filepath.Join(top, "d"), filepath.Join(top, "rel"))
	attack(t, filepath.Join(top, "n", "node"), filepath.Join(top, "n", "link"))
	attack(t, filepath.Join(top, "m"), filepath.Join(top, "abs"))
	made, refused := 0, 0
	for range 200 {
		w, err := Create(top, WriteOptions{})
		must(t, err)
		for _, e := range []agentproto.Entry{
			{Path: "d/canary", Mode: typeFile | 0o777},
			{Path: "n/node", Mode: typeFIFO | 0o777},
			{Path: "d/sub", Mode: typeDir | 0o777},
			{Path: "m/sub/x/y", Mode: typeFile | 0o777},
			{Path: "d/sub/x", Mode: typeFile | 0o777},
			{Path: "n/node", Mode: typeLink | 0o777, Target: "x"},
			{Path: "d/fifo", Mode: typeFIFO | 0o777},
			{Path: "d/canary", Mode: typeFile, HardLink: true, Target: "m/sub/x/y"},
			{Path: "m/sub", Mode: typeDir | 0o777},
		} {
			if w.Put(e, strings.NewReader("written")) == nil {
				made++
			} else {
				refused++
			}
		}
		_ = w.Close() // succeeds or not
	}
	if made == 0 || refused == 0 {
		t.Errorf("%d entries were made and %d refused: nobody attacked", made, refused)
	}
	same(t, snapshot(t, outside), want)
}

// Somebody replaces what is made before it is opened to be given its attributes.
func TestWriterNoticesReplacements(t *testing.T) {
	for name, c := range map[string]struct {
		entry  agentproto.Entry
		target string // outside
		place  func(target, path string) error
	}{
		"parent":       {agentproto.Entry{Path: "new/x/canary", Mode: typeFile | 0o777}, "", os.Symlink},
		"directory":    {agentproto.Entry{Path: "new", Mode: typeDir | 0o777}, "", os.Symlink},
		"FIFO":         {agentproto.Entry{Path: "new", Mode: typeFIFO | 0o777}, "fifo", os.Link},
		"FIFO by file": {agentproto.Entry{Path: "new", Mode: typeFIFO | 0o777}, "canary", os.Link},
		"FIFO by link": {agentproto.Entry{Path: "new", Mode: typeFIFO | 0o777}, "canary", os.Symlink},
	} {
		t.Run(name, func(t *testing.T) {
			top, outside := trap(t)
			want := snapshot(t, outside)
			below := agentproto.Entry{Path: "new/canary", Mode: typeFile | 0o777}
			thing, other := filepath.Join(top, "new"), filepath.Join(top, "other")
			attack(t, thing, other)
			for range 500 {
				_ = os.RemoveAll(thing)
				_ = os.RemoveAll(other)
				_ = c.place(filepath.Join(outside, c.target), other)
				_ = put(t, top, WriteOptions{}, c.entry, below) // succeeds or not
			}
			same(t, snapshot(t, outside), want)
		})
	}
}

// FuzzWriter puts sequences of a few hostile names, targets and types in all orders.
func FuzzWriter(f *testing.F) {
	names := []agentproto.Name{
		".", "..", "d", "d/c", "rel", "rel/x", "abs/canary", "same", "dangling", "x", "x/y", "x/y/z", "d/x",
		"../outside/canary", "/etc/holt-was-here", "x/../../outside/canary", "", "pipe", "rel/sub/x", "x\x00y",
		"../outside", "outside", "../outside/new", "/", "d/sub",
	}
	modes := []uint32{typeFile, typeDir, typeLink, typeFIFO, unix.S_IFSOCK, 0}
	f.Add([]byte{9, 2, 20, 10, 0, 0})
	f.Add([]byte{9, 8, 7, 9, 0, 0, 9, 1, 0, 11, 0, 0})
	f.Add([]byte{0, 2, 21, 13, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		top, outside := trap(t)
		want := snapshot(t, outside)
		var entries []agentproto.Entry
		for ; len(script) >= 3 && len(entries) < 32; script = script[3:] {
			mode := modes[int(script[1]&7)%len(modes)]
			e := agentproto.Entry{Path: names[int(script[0])%len(names)], Mode: mode | 0o7777, HardLink: script[1]&8 != 0}
			if mode == typeLink || e.HardLink {
				e.Target = names[int(script[2])%len(names)]
			}
			entries = append(entries, e)
		}
		_ = put(t, top, WriteOptions{Chown: true}, entries...) // succeeds or not
		same(t, snapshot(t, outside), want)
		if _, err := os.Lstat("/etc/holt-was-here"); err == nil {
			t.Error("a file was made at an absolute path")
		}
	})
}
