package filetree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

const (
	typeFile   = unix.S_IFREG
	typeDir    = unix.S_IFDIR
	typeLink   = unix.S_IFLNK
	typeFIFO   = unix.S_IFIFO
	typeDevice = unix.S_IFCHR
)

func TestWriterMerges(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	must(t, os.MkdirAll(filepath.Join(top, "d"), 0o711))
	must(t, os.Chmod(top, 0o711))
	must(t, os.WriteFile(filepath.Join(top, "d", "kept"), []byte("kept"), 0o600))
	must(t, os.WriteFile(filepath.Join(top, "d", "replaced"), []byte("a long text"), 0o600))
	must(t, unix.Mkfifo(filepath.Join(top, "d", "fifo"), 0o600))
	err := put(t, top, WriteOptions{},
		agentproto.Entry{Path: ".", Mode: typeDir | 0o777},
		agentproto.Entry{Path: "d", Mode: typeDir | 0o777},
		agentproto.Entry{Path: "d/replaced", Mode: typeFile | 0o664},
		agentproto.Entry{Path: "d/fifo", Mode: typeFile | 0o604},
		agentproto.Entry{Path: "no/entry/f", Mode: typeFile | 0o604},
		agentproto.Entry{Path: "late", Mode: typeDir | 0o755, MTimeNS: 1},
		agentproto.Entry{Path: "no", Mode: typeDir | 0o750},
	)
	must(t, err)
	for path, want := range map[string]string{
		".": "mode 40711", "d": "mode 40711", "d/kept": "mode 100600", "d/replaced": "mode 100664",
		"d/fifo": "mode 100604", "no": "mode 40750", "no/entry": "mode 40755", "late": "mode 40755, time 0.000000001",
	} {
		if got := snapshot(t, top)[path]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(top, "d", "replaced")); string(b) != "written" {
		t.Errorf("got %q", b)
	}
}

func TestWriterRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		entries []agentproto.Entry
		want    error
	}{
		"file for a directory":     {[]agentproto.Entry{{Path: "d", Mode: typeFile}}, unix.EISDIR},
		"file for the top":         {[]agentproto.Entry{{Path: ".", Mode: typeFile}}, unix.EISDIR},
		"link for a directory":     {[]agentproto.Entry{{Path: "d", Mode: typeLink, Target: "x"}}, unix.EISDIR},
		"directory for a file":     {[]agentproto.Entry{{Path: "f", Mode: typeDir}}, unix.ENOTDIR},
		"directory for a link":     {[]agentproto.Entry{{Path: "to d", Mode: typeDir}}, unix.ENOTDIR},
		"below a file":             {[]agentproto.Entry{{Path: "f/x", Mode: typeFile}}, unix.ENOTDIR},
		"below a link":             {[]agentproto.Entry{{Path: "to d/x", Mode: typeFile}}, unix.ENOTDIR},
		"below a link, deep":       {[]agentproto.Entry{{Path: "to d/x/y/z", Mode: typeFile}}, unix.ENOTDIR},
		"below a link of the tree": {[]agentproto.Entry{{Path: "l", Mode: typeLink, Target: "d"}, {Path: "l/x", Mode: typeFile}}, unix.ENOTDIR},
		"hard link to nothing":     {[]agentproto.Entry{{Path: "x", Mode: typeFile, HardLink: true, Target: "missing"}}, unix.ENOENT},
		"hard link to a directory": {[]agentproto.Entry{{Path: "x", Mode: typeFile, HardLink: true, Target: "d"}}, unix.EPERM},
		"hard link through a link": {[]agentproto.Entry{{Path: "x", Mode: typeFile, HardLink: true, Target: "to d/f"}}, unix.ENOTDIR},
		"device":                   {[]agentproto.Entry{{Path: "x", Mode: typeDevice | 0o666, Rdev: 259}}, errDevice},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			must(t, os.Mkdir(filepath.Join(top, "d"), 0o700))
			must(t, os.WriteFile(filepath.Join(top, "f"), nil, 0o600))
			must(t, os.WriteFile(filepath.Join(top, "d", "f"), nil, 0o600))
			must(t, os.Symlink("d", filepath.Join(top, "to d")))
			err := put(t, top, WriteOptions{}, c.entries...)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if _, err := os.Lstat(filepath.Join(top, "x")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("x: %v", err)
			}
		})
	}
}

func TestWriterDropsSetIDBits(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	entries := []agentproto.Entry{
		{Path: ".", Mode: typeDir | 0o7755},
		{Path: "f", Mode: typeFile | 0o6755, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())},
	}
	must(t, put(t, top, WriteOptions{}, entries...))
	if got := snapshot(t, top); !strings.HasPrefix(got["."], "mode 41755") || !strings.HasPrefix(got["f"], "mode 100755") {
		t.Errorf("got %q", got)
	}
	must(t, put(t, top, WriteOptions{Chown: true}, entries...))
	if got := snapshot(t, top)["f"]; !strings.HasPrefix(got, "mode 106755") {
		t.Errorf("with Chown: %q", got)
	}
}

func TestWriterRemovesPartialFiles(t *testing.T) {
	top := t.TempDir()
	w, err := Create(top, WriteOptions{})
	must(t, err)
	broken := errors.New("broken")
	data := io.MultiReader(strings.NewReader("the first part"), iotest.ErrReader(broken))
	if err := w.Put(agentproto.Entry{Path: "f", Mode: typeFile | 0o644}, data); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	must(t, w.Close())
	must(t, w.Close())
	if got := snapshot(t, top); len(got) != 1 {
		t.Errorf("left: %q", got)
	}
}

func TestWriterOfMissingTop(t *testing.T) {
	tmp := t.TempDir()
	must(t, os.Symlink("nowhere", filepath.Join(tmp, "dangling")))
	must(t, os.WriteFile(filepath.Join(tmp, "file"), nil, 0o600))
	f := agentproto.Entry{Path: "f", Mode: typeFile | 0o600}
	for _, name := range []string{"missing", "dangling", "file"} {
		if err := put(t, filepath.Join(tmp, name), WriteOptions{}, f); !errors.Is(err, errNoTop) {
			t.Errorf("%s: got %v, want %v", name, err, errNoTop)
		}
	}
	if err := put(t, filepath.Join(tmp, "missing", "x"), WriteOptions{}, f); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if got := snapshot(t, tmp); len(got) != 3 {
		t.Errorf("made: %q", got)
	}
}

func TestWriterPaths(t *testing.T) {
	tmp := t.TempDir()
	t.Chdir(tmp)
	must(t, os.MkdirAll("a/b", 0o700))
	must(t, os.Symlink("a", "link"))
	for i, path := range []string{".", "a", "a/", "a/b/..", "./a/b//", tmp, "link", "link/", "link/b/."} {
		name := fmt.Sprint("f", i)
		must(t, put(t, path, WriteOptions{}, agentproto.Entry{Path: agentproto.Name(name), Mode: typeFile | 0o600}))
		if _, err := os.Lstat(filepath.Join(path, name)); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	must(t, put(t, "new///", WriteOptions{}, agentproto.Entry{Path: ".", Mode: typeDir | 0o700}))
	if _, err := Create("", WriteOptions{}); err == nil {
		t.Error("an empty path is taken")
	}
}

// So many directories are made that the first ones are finished early.
func TestWriterFinishesEarly(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("x", 250)+"/", 14), "/")
	w, err := Create(top, WriteOptions{})
	must(t, err)
	must(t, w.Put(agentproto.Entry{Path: ".", Mode: typeDir | 0o755, MTimeNS: 5e9}, nil))
	const n = 3000
	most := 0
	for i := range n {
		name := agentproto.Name(fmt.Sprintf("%s/%d", long, i))
		must(t, w.Put(agentproto.Entry{Path: name, Mode: typeDir | 0o555, MTimeNS: int64(i)}, nil))
		most = max(most, w.size)
	}
	if most > maxMade {
		t.Errorf("%d bytes were held, %d is the most", most, maxMade)
	}
	if len(w.made) > n {
		t.Errorf("%d directories are not finished", len(w.made))
	}
	must(t, w.Close())
	for path, text := range snapshot(t, top) {
		var i int
		if _, err := fmt.Sscanf(filepath.Base(path), "%d", &i); err != nil {
			continue
		}
		if want := fmt.Sprintf("mode 40555, time 0.%09d", i); !strings.HasPrefix(text, want) {
			t.Errorf("%d: got %s, want %s", i, text, want)
		}
	}
	if got := snapshot(t, top)["."]; !strings.HasPrefix(got, "mode 40755, time 5.") {
		t.Errorf("the top: %s", got)
	}
}
