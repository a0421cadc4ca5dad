package tarstream

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
	"golang.org/x/sys/unix"
)

// item is an entry with its data.
type item struct {
	agentproto.Entry
	data string
}

// items is a tree in memory: a source.
type items []item

func (s *items) Next() (agentproto.Entry, io.Reader, error) {
	if len(*s) == 0 {
		return agentproto.Entry{}, nil, io.EOF
	}
	i := (*s)[0]
	*s = (*s)[1:]
	if !i.HasData() {
		return i.Entry, nil, nil
	}
	return i.Entry, strings.NewReader(i.data), nil
}

func gather(t testing.TB, src filetree.Source) (all items, err error) {
	t.Helper()
	for {
		e, data, err := src.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		i := item{Entry: e}
		if data != nil {
			b, err := io.ReadAll(data)
			if err != nil {
				return all, err
			}
			i.data = string(b)
		}
		all = append(all, i)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func archive(t testing.TB, all items) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, filetree.Copy(NewWriter(&b), &all))
	return b.Bytes()
}

func TestRandomTreesComeBack(t *testing.T) {
	names := []agentproto.Name{"-rf", "a b", "n\nl", "\xff\xfe", "ü", "a=b", "12 path=x\n", agentproto.Name(strings.Repeat("l", 255)), "..."}
	kinds := []uint32{unix.S_IFREG, unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK, unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK}
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		tree := items{{Entry: agentproto.Entry{Path: ".", Mode: unix.S_IFDIR | 0o755}}}
		var files []agentproto.Name
		for range 30 {
			path := names[r.IntN(len(names))]
			for range r.IntN(15) {
				path += "/" + names[r.IntN(len(names))]
			}
			kind := kinds[r.IntN(len(kinds))]
			i := item{Entry: agentproto.Entry{
				Path: path, Mode: kind | r.Uint32()&0o7777, UID: r.Uint32(), GID: r.Uint32(),
				MTimeNS: []int64{0, 1, -1, -1e18, r.Int64(), math.MaxInt64, math.MinInt64}[r.IntN(7)],
			}}
			switch {
			case kind == unix.S_IFREG && len(files) > 0 && r.IntN(2) == 0:
				i.HardLink, i.Target = true, files[r.IntN(len(files))]
				if i.Target == path {
					continue
				}
			case kind == unix.S_IFREG:
				i.data = strings.Repeat("data", r.IntN(30000))
				i.Size = int64(len(i.data))
				files = append(files, path)
			case kind == unix.S_IFLNK:
				i.Target = "../" + path
			case kind == unix.S_IFCHR, kind == unix.S_IFBLK:
				i.Rdev = unix.Mkdev(r.Uint32N(1<<12), r.Uint32N(1<<20))
			}
			must(t, i.Validate())
			tree = append(tree, i)
		}
		got, err := gather(t, NewReader(bytes.NewReader(archive(t, tree))))
		must(t, err)
		for k := range tree {
			if k >= len(got) || !reflect.DeepEqual(got[k].Entry, tree[k].Entry) || got[k].data != tree[k].data {
				t.Fatalf("entry %d:\n got %+v\nwant %+v", k, got[min(k, len(got)-1)].Entry, tree[k].Entry)
			}
		}
	}
}

// What tar itself writes is read, and what is written tar reads.
func TestExchangeWithTar(t *testing.T) {
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip(err)
	}
	from := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(from, "d", strings.Repeat("long", 60)), 0o755))
	must(t, os.WriteFile(filepath.Join(from, "d", "f"), bytes.Repeat([]byte("text"), 5000), 0o640))
	must(t, os.Link(filepath.Join(from, "d", "f"), filepath.Join(from, "hard")))
	must(t, os.Symlink("../etc", filepath.Join(from, "soft")))
	must(t, os.WriteFile(filepath.Join(from, "holes"), []byte("begin"), 0o600))
	must(t, os.Truncate(filepath.Join(from, "holes"), 8<<20))
	must(t, os.WriteFile(filepath.Join(from, "new\nline \xff"), nil, 0o600))
	src, err := filetree.Open(from, filetree.ReadOptions{})
	must(t, err)
	defer src.Close()
	want, err := gather(t, src)
	must(t, err)

	for _, format := range [][]string{{"--format=gnu"}, {"--format=pax"}, {"--format=gnu", "-S"}, {"--format=pax", "-S"}} {
		out, err := exec.Command(program, append(format, "--sort=name", "-C", from, "-cf", "-", ".")...).Output()
		if err != nil {
			t.Skipf("this tar cannot: %v", err)
		}
		got, err := gather(t, NewReader(bytes.NewReader(out)))
		must(t, err)
		compare(t, strings.Join(format, " "), got, want)
	}

	to := t.TempDir()
	extract := exec.Command(program, "-C", to, "-xpf", "-")
	extract.Stdin = bytes.NewReader(archive(t, want))
	if out, err := extract.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	src, err = filetree.Open(to, filetree.ReadOptions{})
	must(t, err)
	defer src.Close()
	got, err := gather(t, src)
	must(t, err)
	compare(t, "extracted", got, want)
}

// compare compares two trees but for what GNU tar's older format has no place for.
func compare(t *testing.T, what string, got, want items) {
	t.Helper()
	text := func(all items) string {
		var b strings.Builder
		for _, i := range all {
			mode := i.Mode
			if i.HardLink {
				mode = 0 // that of the file
			}
			fmt.Fprintf(&b, "%q %o %d %q %v %d\n", i.Path, mode, i.MTimeNS/1e9, i.Target, i.HardLink, len(i.data))
		}
		return b.String()
	}
	if text(got) != text(want) {
		t.Errorf("%s: got\n%swant\n%s", what, text(got), text(want))
	}
}

func TestTopComesFirst(t *testing.T) {
	for name, c := range map[string]struct{ members, want []string }{
		"empty":         {nil, []string{"."}},
		"without a top": {[]string{"a/", "a/f"}, []string{".", "a", "a/f"}},
		"with a top":    {[]string{"./", "./a/", "a//f"}, []string{".", "a", "a/f"}},
		"late":          {[]string{"/a", "./", "b"}, []string{".", "a", "b"}},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, m := range c.members {
			h := &tar.Header{Name: m, Mode: 0o700, Typeflag: tar.TypeReg}
			if strings.HasSuffix(m, "/") {
				h.Typeflag = tar.TypeDir
			}
			must(t, w.WriteHeader(h))
		}
		must(t, w.Close())
		all, err := gather(t, NewReader(&b))
		must(t, err)
		var got []string
		for _, i := range all {
			got = append(got, string(i.Path))
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, h := range []tar.Header{
		{Name: "../x", Typeflag: tar.TypeReg},
		{Name: "a/../../x", Typeflag: tar.TypeReg},
		{Name: "a/../b", Typeflag: tar.TypeReg},
		{Name: "..", Typeflag: tar.TypeDir},
		{Name: ".", Typeflag: tar.TypeReg},
		{Name: strings.Repeat("x", 256), Typeflag: tar.TypeReg},
		{Name: strings.Repeat("x/", 3000), Typeflag: tar.TypeDir},
		{Name: "x", Linkname: "../x", Typeflag: tar.TypeLink},
		{Name: "x", Linkname: "x", Typeflag: tar.TypeLink},
		{Name: "x", Linkname: "", Typeflag: tar.TypeLink},
		{Name: "x", Linkname: "", Typeflag: tar.TypeSymlink},
		{Name: "x", Typeflag: 'V'},
		{Name: "x", Typeflag: tar.TypeReg, Uid: 1 << 40},
	} {
		var b bytes.Buffer
		must(t, tar.NewWriter(&b).WriteHeader(&h))
		if all, err := gather(t, NewReader(&b)); err == nil || !strings.Contains(err.Error(), "tar archive") {
			t.Errorf("%.40q: got %v and %v, want an error", h.Name, all, err)
		}
	}
	if _, err := gather(t, NewReader(strings.NewReader(strings.Repeat("no archive", 100)))); err == nil {
		t.Error("what is no archive is taken")
	}
}

func TestWriterOfChangingFiles(t *testing.T) {
	tree := items{
		{agentproto.Entry{Path: ".", Mode: unix.S_IFDIR}, ""},
		{agentproto.Entry{Path: "shorter", Mode: unix.S_IFREG, Size: 100000}, "abc"},
		{agentproto.Entry{Path: "longer", Mode: unix.S_IFREG, Size: 3}, "abcdef"},
		{agentproto.Entry{Path: "same", Mode: unix.S_IFREG, Size: 3}, "abc"},
	}
	var b bytes.Buffer
	if err := filetree.Copy(NewWriter(&b), &tree); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("got %v, want an error that names the file", err)
	}
	got, err := gather(t, NewReader(&b))
	must(t, err)
	if len(got) != 4 || got[1].data != "abc"+strings.Repeat("\x00", 99997) || got[2].data != "abc" || got[3].data != "abc" {
		t.Errorf("%d entries, %d bytes, %q, %q", len(got), len(got[1].data), got[2].data, got[3].data)
	}
}

// An archive of which something is missing has no end that says it is whole.
func TestWriterLeavesBrokenArchivesOpen(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	broken := errors.New("broken")
	e := agentproto.Entry{Path: "f", Mode: unix.S_IFREG, Size: 10}
	if err := w.Put(e, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("closed: %v", err)
	}
	if _, err := gather(t, NewReader(&b)); err == nil && b.Len() > 0 {
		t.Error("the archive can be read to an end")
	}
	if err := NewWriter(io.Discard).Put(agentproto.Entry{Path: "../x", Mode: unix.S_IFREG}, nil); err == nil {
		t.Error("an invalid entry is taken")
	}
}

func FuzzReader(f *testing.F) {
	f.Add(archive(f, items{
		{agentproto.Entry{Path: ".", Mode: unix.S_IFDIR | 0o755}, ""},
		{agentproto.Entry{Path: "f", Mode: unix.S_IFREG, Size: 4, MTimeNS: -1}, "data"},
		{agentproto.Entry{Path: "h", Mode: unix.S_IFREG, HardLink: true, Target: "f"}, ""},
		{agentproto.Entry{Path: "\xff", Mode: unix.S_IFLNK, Target: "../../etc"}, ""},
		{agentproto.Entry{Path: "c", Mode: unix.S_IFCHR, Rdev: 259}, ""},
	}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		src := NewReader(bytes.NewReader(b))
		for n := 0; ; n++ {
			e, data, err := src.Next()
			if err != nil {
				return
			}
			if (e.Path == ".") != (n == 0) {
				t.Fatalf("entry %d is %q", n, e.Path)
			}
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
			if data != nil && n%2 == 0 {
				if _, err := io.Copy(io.Discard, io.LimitReader(data, 1<<20)); err != nil {
					return
				}
			}
		}
	})
}

func TestWriterBoundsZeros(t *testing.T) {
	w := NewWriter(io.Discard)
	e := agentproto.Entry{Path: "f", Mode: unix.S_IFREG | 0o644, Size: 1 << 62}
	if err := w.Put(e, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "has shrunk") {
		t.Error(err)
	}
	if err := w.Close(); err == nil {
		t.Error("an archive with half a file was ended")
	}
}
