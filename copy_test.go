package holt

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/agenttest"
	"github.com/holtvm/holt/internal/filetree"
)

// tree describes all that a copy keeps of a tree, file by file.
func tree(t *testing.T, top string) string {
	t.Helper()
	r, err := filetree.Open(top, filetree.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		e, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		sum := sha256.New()
		if err == nil && data != nil {
			_, err = io.Copy(sum, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%q %o %d %d %q %v %x\n", e.Path, e.Mode, e.MTimeNS, e.Size, e.Target, e.HardLink, sum.Sum(nil))
	}
}

// grow makes a random tree at dir.
func grow(t *testing.T, r *rand.Rand, dir string, depth int) {
	t.Helper()
	names := []string{"-rf", "a b", "new\nline", "\xff\xfe", "ünï", "c:d", ".hidden", "...", strings.Repeat("n", 255)}
	var last string
	err := os.MkdirAll(dir, 0o755)
	for _, name := range names {
		p := filepath.Join(dir, name)
		switch kind := r.IntN(6); {
		case kind == 0 && depth > 0:
			grow(t, r, p, depth-1)
			continue
		case kind == 1:
			err = errors.Join(err, os.Symlink("../../\xff", p))
			continue
		case kind == 2 && last != "":
			err = errors.Join(err, os.Link(last, p))
			continue
		}
		err = errors.Join(err, os.WriteFile(p, bytes.Repeat([]byte(name), r.IntN(2000)), 0o600), os.Chmod(p, fs.FileMode(r.IntN(0o100))|0o600),
			os.Chtimes(p, time.Time{}, time.Unix(r.Int64N(4e9)-2e9, r.Int64N(1e9))))
		last = p
	}
	if err = errors.Join(err, os.Chtimes(dir, time.Time{}, time.Unix(r.Int64N(1e9), 7))); err != nil {
		t.Fatal(err)
	}
}

// TestCopyTree: a tree that goes to the guest and comes back, each in two ways, is the
// same.
func TestCopyTree(t *testing.T) {
	vm, guest := guestDirectory(t)
	host := t.TempDir()
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			name := fmt.Sprint("tree", seed)
			src := filepath.Join(host, name)
			grow(t, rand.New(rand.NewPCG(seed, 7)), src, 2)
			want := tree(t, src)
			same := func(how, top string) {
				t.Helper()
				if got := tree(t, top); got != want {
					t.Errorf("%s:\n got %s\nwant %s", how, got, want)
				}
			}
			if err := vm.CopyTo(t.Context(), src, "/"); err != nil {
				t.Fatal(err)
			}
			same("to the guest", filepath.Join(guest, name))
			if err := vm.CopyFrom(t.Context(), "/"+name, src+"-back"); err != nil {
				t.Fatal(err)
			}
			same("from the guest", src+"-back")
			var archive bytes.Buffer
			if err := vm.CopyTarFrom(t.Context(), name, &archive); err != nil {
				t.Fatal(err)
			}
			if err := vm.CopyTarTo(t.Context(), &archive, "/tar/"); err != nil {
				t.Fatal(err)
			}
			same("as an archive", filepath.Join(guest, "tar", name))
		})
	}
}

func TestPlace(t *testing.T) {
	dir, file, fifo := fileInfo{agentproto.FileInfo{Mode: unix.S_IFDIR}}, fileInfo{agentproto.FileInfo{Mode: unix.S_IFREG}}, fileInfo{agentproto.FileInfo{Mode: unix.S_IFIFO}}
	for _, tt := range []struct {
		from  string
		what  fs.FileInfo
		to    string
		there fs.FileInfo
		want  string
		err   string
	}{
		{"a/f", file, "x", nil, "", ""},
		{"a/f", file, "x/", nil, "", "copy to x/: no such file or directory"},
		{"a/f", file, "x", dir, "f", ""},
		{"a/f", file, "x", file, "", ""},
		{"a/f", file, "x/", file, "", "copy to x/: not a directory"},
		{"a/f", file, "x", fifo, "", "neither a file nor a directory"},
		{"a/f/", file, "x", nil, "", "copy a/f/: not a directory"},
		{"a/f/.", file, "x", dir, "", "copy a/f/.: not a directory"},
		{"/a/d", dir, "x", nil, "", ""},
		{"/a/d", dir, "x/", nil, "", ""},
		{"/a/d/", dir, "x", dir, "d", ""},
		{"a/d", dir, "x", file, "", "copy to x: not a directory"},
		{"a/d", dir, "x", fifo, "", "copy to x: not a directory"},
		{"a/d/.", dir, "x", dir, "", ""},
		{".", dir, "x", dir, "", ""},
		{"..", dir, "x", dir, "", ""},
		{"/", dir, "x", dir, "", ""},
	} {
		got, err := place(tt.from, tt.what, tt.to, tt.there)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s to %s: %q, %v; want %q, %q", tt.from, tt.to, got, err, tt.want, tt.err)
		}
	}
}

func TestCopyNames(t *testing.T) {
	vm, guest := guestDirectory(t)
	host := t.TempDir()
	mustWrite(t, host+"/f", "f")
	mustWrite(t, host+"/d/x", "x")
	mustWrite(t, guest+"/old", "old")
	mustWrite(t, guest+"/f", "f")
	to := func(from, to string, opts ...CopyOption) error {
		return vm.CopyTo(t.Context(), filepath.Join(host, "/")+"/"+from, to, opts...)
	}
	from := func(from, to string, opts ...CopyOption) error {
		return vm.CopyFrom(t.Context(), from, host+"/"+to, opts...)
	}
	if err := errors.Join(
		os.Symlink("f", host+"/link"), os.Symlink("d", host+"/dlink"), os.Symlink("nowhere", guest+"/hang"),
		to("f", "/new"), to("f", "old"), to("f", "hang"), to("d", "/dir"), to("d/.", "/dir"), to("d", "/dir"), to("link", "/link"),
		to("link", "/file", CopyFollow()), to("dlink/", "/viaslash"), to("dlink", "/dlink"),
		from("/dir", "back"), from("/dir/.", "back"), from("new", "back/"), from("link", "link2"), from("link", "file2", CopyFollow()),
	); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		guest + "/new": "f", guest + "/old": "f", guest + "/hang": "f", guest + "/dir/x": "x", guest + "/dir/d/x": "x",
		guest + "/link": "-> f", guest + "/file": "f", guest + "/viaslash/x": "x", guest + "/dlink": "-> d",
		host + "/back/x": "x", host + "/back/d/x": "x", host + "/back/new": "f", host + "/link2": "-> f", host + "/file2": "f",
	} {
		got, err := os.Readlink(path)
		if err == nil {
			got = "-> " + got
		} else {
			b, _ := os.ReadFile(path)
			got = string(b)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	for want, err := range map[string]error{
		"no such file":                             to("none", "/x"),
		"copy to VM fake: ":                        to("f", "/none/x"),
		`in the guest: write to "/none/x"`:         to("f", "/none/x"),
		"copy from VM fake: stat /none: no such f": from("/none", "x"),
		"not a directory":                          from("/new/", "x"),
		"none/x\": no such file":                   from("/new", "none/x"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q", err, want)
		}
	}
	if err := from("/none", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	if err := vm.CopyFrom(t.Context(), "/new", "/dev/null"); err == nil {
		t.Error("/dev/null was replaced")
	}
}

// TestCopyIsNoted: copies are among the events, failed ones are not.
func TestCopyIsNoted(t *testing.T) {
	vm, guest := guestDirectory(t)
	mustWrite(t, guest+"/f", "f")
	var out bytes.Buffer
	if err := errors.Join(vm.CopyTarFrom(t.Context(), "f", &out), vm.CopyTarTo(t.Context(), &out, "x")); err != nil {
		t.Fatal(err)
	}
	if vm.CopyTarFrom(t.Context(), "none", &out) == nil {
		t.Error("copied what is not there")
	}
	var got []string
	for e, err := range vm.Events(t.Context(), EventOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Action == "copy" {
			got = append(got, e.Attributes["direction"]+" "+e.Attributes["source"]+" "+e.Attributes["target"])
		}
	}
	if want := []string{"from f -", "to - x"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCopyProgress(t *testing.T) {
	vm, guest := guestDirectory(t)
	mustWrite(t, guest+"/d/f", strings.Repeat("x", 300_000))
	var last CopyStatus
	calls := 0
	report := CopyProgress(func(s CopyStatus) {
		if s.Bytes < last.Bytes || s.Files < last.Files {
			t.Errorf("%+v after %+v", s, last)
		}
		last = s
		calls++
	})
	if err := vm.CopyTarFrom(t.Context(), "d", io.Discard, report); err != nil {
		t.Fatal(err)
	}
	if want := (CopyStatus{Path: "f", Files: 2, Bytes: 300_000}); last != want || calls < 4 {
		t.Errorf("%+v in %d calls, want %+v", last, calls, want)
	}
	last = CopyStatus{}
	if err := vm.CopyTo(t.Context(), guest+"/d/f", "g", report); err != nil {
		t.Fatal(err)
	}
	if want := (CopyStatus{Path: ".", Files: 1, Bytes: 300_000, Total: 300_000}); last != want {
		t.Errorf("%+v, want %+v", last, want)
	}
}

// answering is an agent that answers any request so.
func answering(info agentproto.FileInfo, entries ...string) func(net.Conn) {
	return func(conn net.Conn) {
		q, err := agenttest.Request(agentproto.NewReader(conn, agentproto.Host))
		if err != nil {
			return
		}
		out := agentproto.NewBatch(conn)
		if q.Op == agentproto.FileStat {
			_ = errors.Join(out.Report(info), out.Frame(agentproto.TypeOK, nil), out.Flush())
			return
		}
		for _, e := range entries {
			_ = out.Frame(agentproto.TypeEntry, []byte(e))
			if strings.Contains(e, `"mode":33188`) && !strings.Contains(e, "hard_link") {
				_ = errors.Join(out.Frame(agentproto.TypeData, []byte("owned")), out.Frame(agentproto.TypeEnd, nil))
			}
		}
		_ = errors.Join(out.Frame(agentproto.TypeEnd, nil), out.Flush())
	}
}

// TestHostileGuestCopies: whatever a guest answers, nothing outside of the destination
// changes.
func TestHostileGuestCopies(t *testing.T) {
	const top, file = `{"path":".","mode":16877,"mtime_ns":0}`, `{"path":".","mode":33188,"mtime_ns":0}`
	at := func(p string) string { return `{"path":"` + p + `","mode":33188,"mtime_ns":0}` }
	link := func(p, target string) string {
		return `{"path":"` + p + `","mode":41471,"mtime_ns":0,"target":"` + target + `"}`
	}
	hard := func(p, target string) string {
		return `{"path":"` + p + `","mode":33188,"mtime_ns":0,"hard_link":true,"target":"` + target + `"}`
	}
	for name, entries := range map[string][]string{
		"up":                   {top, at("../canary")},
		"up at the end":        {top, at("a/../../canary")},
		"absolute":             {top, at("/tmp/canary")},
		"through a link":       {top, link("l", ".."), at("l/canary")},
		"through a far link":   {top, link("l", "../../outside"), at("l/canary")},
		"hard link up":         {top, hard("a", "../canary")},
		"hard link via a link": {top, link("l", ".."), hard("a", "l/canary")},
		"top is a link":        {link(".", ".."), at("canary")},
		"top is a file":        {file, at("a")},
		"two tops":             {top, top},
		"top through the link": {top, at("canary")},
		"file for the link":    {file},
		"device":               {top, `{"path":"d","mode":25008,"mtime_ns":0,"rdev":2048}`},
		"nothing":              {},
	} {
		for _, isDir := range []bool{true, false} {
			t.Run(fmt.Sprint(name, isDir), func(t *testing.T) {
				info := agentproto.FileInfo{Mode: syscall.S_IFREG | 0o644, Nlink: 1}
				if isDir {
					info.Mode = syscall.S_IFDIR | 0o755
				}
				vm, _ := runningVM(t, answering(info, entries...))
				base := t.TempDir()
				mustWrite(t, base+"/canary", "sings")
				mustWrite(t, base+"/outside/canary", "sings")
				dst := base + "/dst"
				// An earlier copy left a link with the name of this one's source.
				if err := errors.Join(os.Mkdir(dst, 0o755), os.Symlink("../outside", dst+"/src")); err != nil {
					t.Fatal(err)
				}
				before := tree(t, base+"/outside")
				err := vm.CopyFrom(t.Context(), "/src", dst)
				if err == nil && name != "file for the link" {
					t.Error("no error")
				}
				if after := tree(t, base+"/outside"); after != before {
					t.Errorf("outside there is\n%s", after)
				}
				if b, err := os.ReadFile(base + "/canary"); string(b) != "sings" {
					t.Errorf("the canary says %q, %v", b, err)
				}
				if entries, _ := os.ReadDir(base); len(entries) != 3 {
					t.Errorf("beside the destination there is %v", entries)
				}
				var archive bytes.Buffer
				if vm.CopyTarFrom(t.Context(), "/src", &archive) == nil {
					checkNames(t, &archive)
				}
			})
		}
	}
}

// checkNames checks that an archive unpacks below src.
func checkNames(t *testing.T, archive io.Reader) {
	t.Helper()
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || h.Name != "src" && !strings.HasPrefix(h.Name, "src/") || !filepath.IsLocal(h.Name) {
			t.Fatalf("member %v, %v", h, err)
		}
	}
}

// TestCopyTarToEndsEarly: a guest that refuses is heard although nothing more comes in.
func TestCopyTarToEndsEarly(t *testing.T) {
	vm, _ := runningVM(t, func(conn net.Conn) {
		_, _ = agenttest.Request(agentproto.NewReader(conn, agentproto.Host))
		_ = agentproto.NewWriter(conn).Error(&agentproto.Error{Kind: agentproto.KindReadOnly, Message: `write "/x": read-only file system`})
	})
	in, hold := io.Pipe()
	defer hold.Close()
	err := vm.CopyTarTo(t.Context(), in, "/x")
	if !errors.Is(err, syscall.EROFS) || err.Error() != `copy to VM fake: in the guest: write "/x": read-only file system` {
		t.Errorf("error %v", err)
	}
}

// TestCopyTarToReadsAll: who writes the archive is not cut off behind its end.
func TestCopyTarToReadsAll(t *testing.T) {
	vm, guest := guestDirectory(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: "a/b", Size: 2, Mode: 0o600, Typeflag: tar.TypeReg})
	_, _ = w.Write([]byte("hi"))
	_ = w.Close()
	archive.Write(make([]byte, 300_000))
	if err := vm.CopyTarTo(t.Context(), &archive, "/"); err != nil || archive.Len() > 0 {
		t.Errorf("%d bytes are left: %v", archive.Len(), err)
	}
	if b, err := os.ReadFile(guest + "/a/b"); string(b) != "hi" {
		t.Errorf("%q, %v", b, err)
	}
}
