package agent

import (
	"context"
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
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// dial returns a connection on which an agent serves one operation.
func dial(t *testing.T) net.Conn {
	t.Helper()
	host, guest := connect(t)
	a := newAgent(reaper)
	done := make(chan struct{})
	go func() { a.operation(guest); close(done) }()
	t.Cleanup(func() {
		host.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("the agent's side does not end")
		}
	})
	return host
}

// kindOf is the kind of the agent's error in err, or its text.
func kindOf(err error) string {
	if e, ok := errors.AsType[*agentproto.Error](err); ok {
		return string(e.Kind)
	}
	return fmt.Sprint(err)
}

func op(t *testing.T, q agentproto.FileRequest) error {
	t.Helper()
	return agentclient.FileOp(t.Context(), dial(t), q)
}

func at(parts ...string) agentproto.Name { return agentproto.Name(filepath.Join(parts...)) }

// read reads a file of the guest.
func read(t *testing.T, name string, offset, length int64) (string, error) {
	t.Helper()
	r, err := agentclient.ReadFile(t.Context(), dial(t), name, offset, length)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func makeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestStat(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	makeFile(t, file, "abc")
	mtime := time.Unix(-5, 123456789)
	if err := errors.Join(os.Symlink("file", link), os.Chmod(file, 0o751), os.Chtimes(file, mtime, mtime)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		follow bool
		mode   uint32
		size   int64
		target agentproto.Name
	}{
		{file, false, unix.S_IFREG | 0o751, 3, ""},
		{link, true, unix.S_IFREG | 0o751, 3, ""},
		{link, false, unix.S_IFLNK | 0o777, 4, "file"},
		{dir + "/.//link/../file", false, unix.S_IFREG | 0o751, 3, ""},
		{"/dev/null", false, unix.S_IFCHR | 0o666, 0, ""},
	} {
		i, err := agentclient.Stat(t.Context(), dial(t), tt.name, tt.follow)
		if err != nil || i.Mode != tt.mode || i.Size != tt.size || i.Target != tt.target || string(i.Name) != filepath.Base(tt.name) {
			t.Errorf("%s: %+v, %v", tt.name, i, err)
		}
	}
	i, err := agentclient.Stat(t.Context(), dial(t), file, false)
	if err != nil || i.MTimeNS != mtime.UnixNano() || i.Nlink != 1 || i.Inode == 0 || int(i.UID) != os.Getuid() {
		t.Errorf("%+v, %v", i, err)
	}
	if text, err := agentclient.ReadLink(t.Context(), dial(t), link); text != "file" || err != nil {
		t.Errorf("link holds %q, %v", text, err)
	}
	if _, err := agentclient.ReadLink(t.Context(), dial(t), file); kindOf(err) != "invalid" {
		t.Errorf("a file as a link: %v", err)
	}
	_, err = agentclient.Stat(t.Context(), dial(t), dir+"/none", false)
	if kindOf(err) != "not_found" || !strings.Contains(err.Error(), dir+"/none: no such file") {
		t.Errorf("missing: %v", err)
	}
	if _, err = agentclient.Stat(t.Context(), dial(t), "etc", false); err == nil {
		t.Error("a relative path is taken")
	}
}

// TestReadDir lists more entries than are read at once, with any names.
func TestReadDir(t *testing.T) {
	dir := t.TempDir()
	want := []string{"a b", "new\nline", "latin\xe9", "-rf", strings.Repeat("x", 255)}
	for i := range 3*listBatch + 1 {
		want = append(want, fmt.Sprint(i))
	}
	for _, name := range want {
		makeFile(t, filepath.Join(dir, name), "")
	}
	list := func(name string, each func(agentproto.FileInfo) error) error {
		return agentclient.ReadDir(t.Context(), dial(t), name, each)
	}
	var got []string
	err := list(dir, func(i agentproto.FileInfo) error { got = append(got, string(i.Name)); return nil })
	slices.Sort(got)
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %d entries, want %d", err, len(got), len(want))
	}
	enough := errors.New("enough")
	if err := list(dir, func(agentproto.FileInfo) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	none := func(agentproto.FileInfo) error { return nil }
	if err := list(filepath.Join(dir, "-rf"), none); kindOf(err) != "not_dir" {
		t.Errorf("a file: %v", err)
	}
	if err := list("/proc/self/task", none); err != nil {
		t.Errorf("/proc: %v", err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	big := strings.Repeat("0123456789", 20_000)
	makeFile(t, file, big)
	for _, tt := range []struct{ offset, length, from, to int64 }{
		{0, -1, 0, 200_000}, {5, -1, 5, 200_000}, {0, 0, 0, 0}, {100, 70_000, 100, 70_100}, {199_990, 50, 199_990, 200_000}, {1 << 40, 5, 0, 0},
	} {
		if got, err := read(t, file, tt.offset, tt.length); err != nil || got != big[tt.from:tt.to] {
			t.Errorf("%+v: %d bytes, %v", tt, len(got), err)
		}
	}
	if got, err := read(t, "/proc/self/status", 0, -1); err != nil || !strings.Contains(got, "\nPid:") {
		t.Errorf("/proc: %q, %v", got, err)
	}
	if got, err := read(t, "/dev/zero", 0, 100_000); err != nil || got != strings.Repeat("\x00", 100_000) {
		t.Errorf("/dev/zero: %d bytes, %v", len(got), err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{dir: "is_dir", "/dev/zero": "invalid", fifo: "invalid", dir + "/none": "not_found", file + "/x": "not_dir"} {
		if got, err := read(t, name, 0, -1); kindOf(err) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestStopReading: a reader may leave at any time.
func TestStopReading(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := agentclient.ReadFile(ctx, dial(t), "/dev/zero", 0, 1<<50)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	cancel(stop)
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "new/dir/file")
	other := filepath.Join(dir, "other")
	long := strings.Repeat("x", 300_000)
	for _, tt := range []struct {
		q    agentproto.FileRequest
		data string
		want string // content, or the kind of an error
	}{
		{agentproto.FileRequest{}, "a", "not_found"},
		{agentproto.FileRequest{Create: true}, "a", "not_found"},
		{agentproto.FileRequest{Create: true, Parents: true, Mode: 0o666}, "abcdef", "abcdef"},
		{agentproto.FileRequest{}, "AB", "ABcdef"},
		{agentproto.FileRequest{Offset: 3}, "D", "ABcDef"},
		{agentproto.FileRequest{Append: true}, "!", "ABcDef!"},
		{agentproto.FileRequest{Create: true, Exclusive: true}, "x", "exists"},
		{agentproto.FileRequest{Truncate: true}, long, long},
		{agentproto.FileRequest{Create: true, Truncate: true, Mode: 0o600}, "", ""},
	} {
		tt.q.Path = at(file)
		n, err := agentclient.WriteFile(t.Context(), dial(t), tt.q, iotest.HalfReader(strings.NewReader(tt.data)))
		if err != nil {
			if kindOf(err) != tt.want {
				t.Errorf("%+v: %v", tt.q, err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != tt.want || n != int64(len(tt.data)) {
			t.Errorf("%+v: %d bytes sent, %d there: %v", tt.q, n, len(got), err)
		}
		if tt.data == "abcdef" {
			if err := os.Link(file, other); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Neither the umask nor a later mode counts, and the other name is the same file.
	if st, err := os.Stat(other); err != nil || st.Mode() != 0o666 || st.Size() != 0 {
		t.Errorf("%v, %v", st, err)
	}
	if st, err := os.Stat(filepath.Dir(file)); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("parent: %v, %v", st, err)
	}
	if _, err := agentclient.WriteFile(t.Context(), dial(t), agentproto.FileRequest{Path: at(dir)}, strings.NewReader("x")); kindOf(err) != "is_dir" {
		t.Errorf("a directory: %v", err)
	}
}

// endless never ends.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestEarlyErrorOfWriting: a full disk is heard of while the host sends.
func TestEarlyErrorOfWriting(t *testing.T) {
	_, err := agentclient.WriteFile(t.Context(), dial(t), agentproto.FileRequest{Path: "/dev/full"}, endless{})
	if kindOf(err) != "no_space" || !strings.Contains(err.Error(), "/dev/full: no space left") {
		t.Errorf("%v", err)
	}
	// Even while there is nothing to send.
	idle, w := io.Pipe()
	defer w.Close()
	_, err = agentclient.WriteFile(t.Context(), dial(t), agentproto.FileRequest{Path: "/none/x"}, idle)
	if kindOf(err) != "not_found" {
		t.Errorf("%v", err)
	}
}

// TestFailingReader: what is sent of a file that cannot be read to its end is not taken
// for the whole.
func TestFailingReader(t *testing.T) {
	broken := errors.New("broken")
	q := agentproto.FileRequest{Path: at(t.TempDir(), "x"), Create: true}
	n, err := agentclient.WriteFile(t.Context(), dial(t), q, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	src := sourceFunc(func() (agentproto.Entry, io.Reader, error) { return agentproto.Entry{}, nil, broken })
	if err := agentclient.Push(t.Context(), dial(t), agentproto.FileRequest{Path: q.Path}, src); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type sourceFunc func() (agentproto.Entry, io.Reader, error)

func (f sourceFunc) Next() (agentproto.Entry, io.Reader, error) { return f() }

func TestChanges(t *testing.T) {
	dir := t.TempDir()
	p := func(name string) agentproto.Name { return at(dir, name) }
	id, ns := uint32(12345), int64(-1_500_000_000)
	makeFile(t, string(p("file")), "x")
	for _, tt := range []struct {
		q    agentproto.FileRequest
		want string // the kind of its error
	}{
		{agentproto.FileRequest{Op: agentproto.FileMkdir, Path: p("a/b"), Mode: 0o1777}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileMkdir, Path: p("a/b"), Mode: 0o1777, Parents: true}, ""},
		{agentproto.FileRequest{Op: agentproto.FileMkdir, Path: p("a/b"), Parents: true}, ""},
		{agentproto.FileRequest{Op: agentproto.FileMkdir, Path: p("a/b")}, "exists"},
		{agentproto.FileRequest{Op: agentproto.FileMkdir, Path: p("file"), Parents: true}, "exists"},
		{agentproto.FileRequest{Op: agentproto.FileMkdir, Path: p("file/x"), Parents: true}, "not_dir"},
		{agentproto.FileRequest{Op: agentproto.FileSymlink, Path: p("link"), To: "no such\xff"}, ""},
		{agentproto.FileRequest{Op: agentproto.FileSymlink, Path: p("link"), To: "x"}, "exists"},
		{agentproto.FileRequest{Op: agentproto.FileRename, Path: p("file"), To: p("a/moved")}, ""},
		{agentproto.FileRequest{Op: agentproto.FileRename, Path: p("file"), To: p("a/moved")}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileChmod, Path: p("a/moved"), Mode: 0o640}, ""},
		{agentproto.FileRequest{Op: agentproto.FileChmod, Path: p("link"), Mode: 0o640}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileChtimes, Path: p("link"), MTimeNS: ns}, ""},
		{agentproto.FileRequest{Op: agentproto.FileChtimes, Path: p("link"), MTimeNS: ns, Follow: true}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileChtimes, Path: p("a/moved"), MTimeNS: ns, Follow: true}, ""},
		{agentproto.FileRequest{Op: agentproto.FileChown, Path: p("link")}, ""},
		{agentproto.FileRequest{Op: agentproto.FileChown, Path: p("none"), GID: &id}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileRemove, Path: p("a")}, "not_empty"},
		{agentproto.FileRequest{Op: agentproto.FileRemove, Path: p("none")}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileRemove, Path: p("none"), Recursive: true}, "not_found"},
		{agentproto.FileRequest{Op: agentproto.FileRemove, Path: "/", Recursive: true}, "invalid"},
	} {
		err := op(t, tt.q)
		if tt.want == "" && err != nil || tt.want != "" && kindOf(err) != tt.want {
			t.Errorf("%s %s: %v, want %q", tt.q.Op, tt.q.Path, err, tt.want)
		}
	}
	for name, want := range map[string]fs.FileMode{"a": fs.ModeDir | 0o755, "a/b": fs.ModeDir | fs.ModeSticky | 0o777, "a/moved": 0o640} {
		if st, err := os.Stat(string(p(name))); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	for _, name := range []string{"link", "a/moved"} {
		if st, err := os.Lstat(string(p(name))); err != nil || st.ModTime().UnixNano() != ns {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if text, err := os.Readlink(string(p("link"))); text != "no such\xff" {
		t.Errorf("link holds %q, %v", text, err)
	}
	for _, name := range []string{"link", "a"} {
		if err := op(t, agentproto.FileRequest{Op: agentproto.FileRemove, Path: p(name), Recursive: name == "a"}); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(string(p(name))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChown(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := t.TempDir()
	file, link := at(dir, "file"), at(dir, "link")
	makeFile(t, string(file), "")
	if err := os.Symlink("file", string(link)); err != nil {
		t.Fatal(err)
	}
	owner := func(name agentproto.Name) string {
		i, err := agentclient.Stat(t.Context(), dial(t), string(name), false)
		return fmt.Sprint(i.UID, i.GID, err)
	}
	one, two := uint32(1), uint32(2)
	for _, q := range []agentproto.FileRequest{{UID: &one, Follow: true}, {GID: &two}} {
		q.Op, q.Path = agentproto.FileChown, link
		if err := op(t, q); err != nil {
			t.Error(err)
		}
	}
	if f, l := owner(file), owner(link); f != "1 0 <nil>" || l != "0 2 <nil>" {
		t.Errorf("file %s, link %s", f, l)
	}
}
