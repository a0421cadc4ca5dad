package agentclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

const (
	info     = `{"mode":33188,"size":1,"mtime_ns":0,"uid":0,"gid":0,"nlink":1,"inode":2}`
	topEntry = `{"path":".","mode":16877}`
	aFile    = `{"path":"a","mode":33188}`
)

func named(name string) string { return `{"name":` + name + `,"mode":33188}` }

// pulled pulls what script says into dir and returns the error.
func pulled(t *testing.T, script []byte, dir string) error {
	t.Helper()
	to, err := filetree.Create(dir, filetree.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	return Pull(t.Context(), fakeAgent(t, script, hangUp), agentproto.FileRequest{Path: "/x"}, to)
}

// TestHostileFiles: whatever the guest answers, the outcome is an error of the right
// kind, soon.
func TestHostileFiles(t *testing.T) {
	stat := func(c net.Conn) error { _, err := Stat(t.Context(), c, "/x", true); return err }
	list := func(c net.Conn) error {
		return ReadDir(t.Context(), c, "/x", func(i agentproto.FileInfo) error {
			if strings.ContainsAny(string(i.Name), "/\x00") || i.Name == "" || i.Name == ".." {
				t.Errorf("name %q", i.Name)
			}
			return nil
		})
	}
	read := func(c net.Conn) error {
		r, err := ReadFile(t.Context(), c, "/x", 0, -1)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	}
	write := func(c net.Conn) error {
		_, err := WriteFile(t.Context(), c, agentproto.FileRequest{Path: "/x"}, neverEnding{})
		return err
	}
	watch := func(c net.Conn) error {
		return Watch(t.Context(), c, agentproto.FileRequest{Path: "/x"}, func(agentproto.WatchEvent) error { return nil })
	}
	report, ok, end := agentproto.TypeReport, frames(agentproto.TypeOK, ""), frames(agentproto.TypeEnd, "")
	failure := frames(agentproto.TypeError, `{"kind":"permission","message":"/x:\u001b[2J no"}`)
	for _, tt := range []struct {
		name   string
		do     func(net.Conn) error
		script []byte
		want   string
	}{
		{"stat: nothing", stat, nil, ErrLost.Error()},
		{"stat: no answer", stat, ok, "out of order"},
		{"stat: two answers", stat, frames(report, info, report, info), "out of order"},
		{"stat: no JSON", stat, frames(report, "no"), "violation"},
		{"stat: failure", stat, failure, "/x:?[2J no"},
		{"list: way out", list, frames(report, named(`"../x"`)), "no name in a directory"},
		{"list: up", list, frames(report, named(`".."`)), "no name in a directory"},
		{"list: no name", list, frames(report, info), "without a name"},
		{"list: NUL", list, frames(report, named(`{"base64":"YQBi"}`)), "NUL"},
		{"list: cut off", list, frames(report, named(`"a"`)), ErrLost.Error()},
		{"list: tree", list, frames(agentproto.TypeEntry, topEntry), "out of order"},
		{"read: data first", read, frames(agentproto.TypeData, "x"), "out of order"},
		{"read: cut off", read, frames(report, info, agentproto.TypeData, "x"), ErrLost.Error()},
		{"read: failure", read, append(frames(report, info, agentproto.TypeData, "x"), failure...), "?[2J"},
		{"read: ok", read, append(frames(report, info), ok...), "in the data"},
		{"write: ok at once", write, ok, "before the end"},
		{"write: failure at once", write, failure, "?[2J"},
		{"write: data", write, frames(agentproto.TypeData, "x"), "out of order"},
		{"write: gone", write, nil, ErrLost.Error()},
		{"watch: end", watch, ok, "ends"},
		{"watch: elsewhere", watch, frames(report, `{"path":"/xy","op":"create"}`), "not below"},
		{"watch: relative", watch, frames(report, `{"path":"x","op":"create"}`), "is none"},
		{"watch: unknown", watch, frames(report, `{"path":"/x","op":"x"}`), "is none"},
		{"watch: tree", watch, end, "out of order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do(fakeAgent(t, tt.script, hangUp))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if tt.want == ErrLost.Error() && !errors.Is(err, ErrLost) {
				t.Errorf("%v is not ErrLost", err)
			}
			if e, is := errors.AsType[*agentproto.Error](err); strings.Contains(tt.want, "2J") && (!is || e.Kind != agentproto.KindPermission) {
				t.Errorf("%v has lost its kind", err)
			}
		})
	}
}

// neverEnding is a reader without an end.
type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

// TestHostilePull: nothing appears outside of the destination.
func TestHostilePull(t *testing.T) {
	entry := agentproto.TypeEntry
	escape := `{"path":"a","mode":41471,"target":"../outside"}`
	for name, script := range map[string][]byte{
		"up":              frames(entry, topEntry, entry, `{"path":"../outside/x","mode":33188}`, agentproto.TypeEnd, ""),
		"up within":       frames(entry, topEntry, entry, `{"path":"b/../../outside/x","mode":33188}`, agentproto.TypeEnd, ""),
		"absolute":        frames(entry, topEntry, entry, `{"path":"/outside","mode":33188}`, agentproto.TypeEnd, ""),
		"through a link":  frames(entry, topEntry, entry, escape, entry, `{"path":"a/x","mode":33188}`, agentproto.TypeData, "x"),
		"no top":          frames(entry, aFile, agentproto.TypeEnd, ""),
		"data after end":  frames(entry, topEntry, entry, aFile, agentproto.TypeEnd, "", agentproto.TypeData, "x"),
		"nothing":         nil,
		"cut off":         frames(entry, topEntry, entry, aFile, agentproto.TypeData, "x"),
		"failure in data": frames(entry, topEntry, entry, aFile, agentproto.TypeData, "x", agentproto.TypeError, `{"kind":"internal","message":"x"}`),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "outside"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := pulled(t, script, filepath.Join(dir, "top")); err == nil {
				t.Error("no error")
			}
			outside, err := os.ReadDir(filepath.Join(dir, "outside"))
			if err != nil || len(outside) > 0 {
				t.Errorf("outside has %v, %v", outside, err)
			}
			if all, err := os.ReadDir(dir); err != nil || len(all) > 2 {
				t.Errorf("beside the destination there is %v, %v", all, err)
			}
		})
	}
}

func TestPull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "top")
	script := frames(agentproto.TypeEntry, topEntry, agentproto.TypeEntry, aFile, agentproto.TypeData, "x",
		agentproto.TypeData, "y", agentproto.TypeEnd, "", agentproto.TypeEnd, "")
	if err := pulled(t, script, dir); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a")); string(b) != "xy" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestFilesEndWithTheirContext: a guest that says nothing holds up nobody.
func TestFilesEndWithTheirContext(t *testing.T) {
	stop := errors.New("stop")
	idle, w := io.Pipe()
	defer w.Close()
	for name, do := range map[string]func(context.Context, net.Conn) error{
		"stat": func(ctx context.Context, c net.Conn) error { _, err := Stat(ctx, c, "/x", true); return err },
		"read": func(ctx context.Context, c net.Conn) error { _, err := ReadFile(ctx, c, "/x", 0, -1); return err },
		"write": func(ctx context.Context, c net.Conn) error {
			_, err := WriteFile(ctx, c, agentproto.FileRequest{Path: "/x"}, neverEnding{})
			return err
		},
		"write of nothing": func(ctx context.Context, c net.Conn) error {
			_, err := WriteFile(ctx, c, agentproto.FileRequest{Path: "/x"}, idle)
			return err
		},
		"watch": func(ctx context.Context, c net.Conn) error {
			return Watch(ctx, c, agentproto.FileRequest{Path: "/x"}, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer time.AfterFunc(20*time.Millisecond, func() { cancel(stop) }).Stop()
			if err := do(ctx, fakeAgent(t, nil, nil)); !errors.Is(err, stop) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestPushOfARefusedRequest: what is not valid is not sent, and nothing is waited for.
func TestPushOfARefusedRequest(t *testing.T) {
	err := Push(t.Context(), fakeAgent(t, nil, nil), agentproto.FileRequest{Path: "relative"}, nil)
	if err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("error %v", err)
	}
}

func FuzzFileAnswers(f *testing.F) {
	f.Add(frames(agentproto.TypeReport, info, agentproto.TypeData, "x", agentproto.TypeEnd, ""))
	f.Add(frames(agentproto.TypeReport, named(`"a"`), agentproto.TypeOK, ""))
	f.Add(frames(agentproto.TypeReport, `{"path":"/x","op":"ready"}`, agentproto.TypeOK, ""))
	f.Add(frames(agentproto.TypeEntry, topEntry, agentproto.TypeEntry, aFile, agentproto.TypeData, "x", agentproto.TypeEnd, "", agentproto.TypeEnd, ""))
	f.Fuzz(func(t *testing.T, script []byte) {
		conn := func() net.Conn { return &scripted{Reader: iotest.HalfReader(bytes.NewReader(script))} }
		ctx := context.Background()
		_, _ = Stat(ctx, conn(), "/x", true)
		_ = ReadDir(ctx, conn(), "/x", func(i agentproto.FileInfo) error {
			if i.Name == "" || i.Name == ".." || strings.ContainsAny(string(i.Name), "/\x00") {
				t.Fatalf("name %q", i.Name)
			}
			return nil
		})
		if r, err := ReadFile(ctx, conn(), "/x", 0, -1); err == nil {
			_, _ = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		_ = Watch(ctx, conn(), agentproto.FileRequest{Path: "/x"}, func(e agentproto.WatchEvent) error {
			if e.Path != "/x" && !strings.HasPrefix(string(e.Path), "/x/") {
				t.Fatalf("path %q", e.Path)
			}
			return nil
		})
		_ = Pull(ctx, conn(), agentproto.FileRequest{Path: "/x"}, checkingSink{t})
	})
}

// scripted is a connection to an agent that has said everything and takes anything.
type scripted struct {
	net.Conn
	io.Reader
}

func (s *scripted) Read(b []byte) (int, error)       { return s.Reader.Read(b) }
func (s *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// checkingSink takes valid entries only.
type checkingSink struct{ t *testing.T }

func (s checkingSink) Put(e agentproto.Entry, data io.Reader) error {
	if err := e.Validate(); err != nil {
		s.t.Fatal(err)
	}
	if data != nil {
		_, err := io.Copy(io.Discard, data)
		return err
	}
	return nil
}

func (checkingSink) Close() error { return nil }
