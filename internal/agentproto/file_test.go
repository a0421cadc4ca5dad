package agentproto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

var (
	exampleWrite = FileRequest{Op: FileWrite, Path: "/srv/data", Parents: true, Mode: 0o644, Create: true, Truncate: true}
	exampleInfo  = FileInfo{
		Name: "caf\xe9", Mode: syscall.S_IFLNK | 0o777, Size: 6, MTimeNS: 1764000000123456789,
		UID: 1000, GID: 100, Nlink: 1, Inode: 12, Target: "../etc",
	}
	exampleEntry = Entry{Path: "bin/tool", Mode: syscall.S_IFREG | 0o755, UID: 1000, GID: 100, MTimeNS: 1764000000123456789, Size: 4}
)

// everything sets each key of a request, wherever it belongs.
func everything(op FileOp) FileRequest {
	id := uint32(1)
	return FileRequest{
		Op: op, Path: "/a", To: "/b", Follow: true, Parents: true, Recursive: true, Mode: 1, Length: 1,
		Create: true, Exclusive: true, Truncate: true, Append: true, UID: &id, GID: &id, MTimeNS: 1, Owners: true,
	}
}

// TestFileRequestsTakeWhatTheyUse: a key that an operation would leave out is refused.
func TestFileRequestsTakeWhatTheyUse(t *testing.T) {
	uses := map[FileOp]string{
		FileStat: "Follow", FileList: "", FileRead: "Offset Length",
		FileWrite: "Parents Mode Offset Create Exclusive Truncate Append",
		FileMkdir: "Parents Mode", FileRename: "To", FileRemove: "Recursive", FileChmod: "Mode",
		FileChown: "Follow UID GID", FileChtimes: "Follow MTimeNS", FileSymlink: "To",
		FilePull: "Follow", FilePush: "Parents Owners", FileWatch: "Recursive",
	}
	for op, used := range uses {
		all := reflect.ValueOf(everything(op))
		for i := range all.NumField() {
			field := all.Type().Field(i)
			if field.Name == "Op" || field.Name == "Path" {
				continue
			}
			q := FileRequest{Op: op, Path: "/a"}
			if op == FileRename || op == FileSymlink {
				q.To = "/b"
			}
			q.Create = field.Name == "Exclusive" && op == FileWrite
			reflect.ValueOf(&q).Elem().Field(i).Set(all.Field(i))
			if field.Name == "Offset" {
				q.Offset = 1
			}
			want := strings.Contains(" "+used+" ", " "+field.Name+" ")
			if err := q.Validate(); (err == nil) != want {
				t.Errorf("%s with %s: %v", op, field.Name, err)
			}
		}
	}
}

func TestInvalidFileRequests(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"op":"stat","path":"etc"}`, "absolute"},
		{`{"op":"stat","path":""}`, "absolute"},
		{`{"op":"stat","path":"/a/../b"}`, "clean"},
		{`{"op":"stat","path":"/a/"}`, "clean"},
		{`{"op":"stat","path":"/a\u0000"}`, "NUL"},
		{`{"op":"stat","path":{"base64":"L2EA"}}`, "NUL"},
		{`{"op":"stat","path":"/` + strings.Repeat("x", MaxPath) + `"}`, "4095"},
		{`{"op":"format","path":"/"}`, "unknown file operation"},
		{`{"op":"rename","path":"/a","to":"b"}`, "to"},
		{`{"op":"symlink","path":"/a"}`, "1 to 4095"},
		{`{"op":"chmod","path":"/a","mode":32768}`, "mode"},
		{`{"op":"read","path":"/a","offset":-1}`, "offset"},
		{`{"op":"write","path":"/a","append":true,"offset":1}`, "append"},
		{`{"op":"write","path":"/a","exclusive":true}`, "exclusive"},
		{`{"op":"stat","path":"/a","force":true}`, "force"},
		{`{"op":"stat","path":"/a"} {}`, "after"},
	} {
		_, err := DecodeFileRequest([]byte(tt.in))
		if _, ok := errors.AsType[*ViolationError](err); !ok || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80s: %v, want %q", tt.in, err, tt.want)
		}
	}
	if err := NewWriter(io.Discard).FileRequest(FileRequest{Op: FileStat, Path: "a"}); err == nil {
		t.Error("an invalid request is written")
	}
}

func TestHostileReports(t *testing.T) {
	for _, name := range []string{"..", ".", "a/b", "/", strings.Repeat("x", 256), "a\x00"} {
		b, err := json.Marshal(FileInfo{Name: Name(name)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeFileInfo(b); err == nil {
			t.Errorf("an entry %q is accepted", name)
		}
	}
	for _, in := range []string{`{"size":-1}`, `{"mode":65536}`, `{"name":3}`, `[]`} {
		if _, err := DecodeFileInfo([]byte(in)); err == nil {
			t.Errorf("%s is accepted", in)
		}
	}
	for _, in := range []string{`{"path":"/a","op":"explode"}`, `{"path":"a","op":"write"}`, `{"path":"/a/../b","op":"write"}`, `{"op":"write"}`} {
		if _, err := DecodeWatchEvent([]byte(in)); err == nil {
			t.Errorf("%s is accepted", in)
		}
	}
}

// node is an entry with its data.
type node struct {
	Entry
	data string
}

// source yields nodes as a source of package filetree does.
func source(nodes []node) func() (Entry, io.Reader, error) {
	return func() (Entry, io.Reader, error) {
		if len(nodes) == 0 {
			return Entry{}, nil, io.EOF
		}
		n := nodes[0]
		nodes = nodes[1:]
		return n.Entry, iotest.HalfReader(strings.NewReader(n.data)), nil
	}
}

// drain reads a tree, and of every skip-th file nothing.
func drain(r *TreeReader, skip int) ([]node, error) {
	var nodes []node
	for {
		e, data, err := r.Next()
		if err != nil {
			return nodes, err
		}
		n := node{Entry: e}
		if e.HasData() != (data != nil) {
			return nodes, fmt.Errorf("data of %q: %v", e.Path, data)
		}
		if data != nil && (skip == 0 || len(nodes)%skip != 0) {
			b, err := io.ReadAll(iotest.HalfReader(data))
			if err != nil {
				return nodes, err
			}
			n.data = string(b)
		}
		nodes = append(nodes, n)
	}
}

// writeCounter counts writes and the longest.
type writeCounter struct {
	bytes.Buffer
	writes, longest int
}

func (w *writeCounter) Write(b []byte) (int, error) {
	w.writes++
	w.longest = max(w.longest, len(b))
	return w.Buffer.Write(b)
}

// TestTreeRoundTrip sends a tree of small files in few writes, and a large one in whole
// packets.
func TestTreeRoundTrip(t *testing.T) {
	const dir, file = syscall.S_IFDIR | 0o755, syscall.S_IFREG | 0o644
	want := []node{{Entry{Path: ".", Mode: dir}, ""}}
	for i := range 1000 {
		want = append(want, node{Entry{Path: Name(fmt.Sprintf("f %d\n\xff", i)), Mode: file}, strings.Repeat("x", i%50)})
	}
	want = append(want,
		node{Entry{Path: "hard", Mode: file, Target: "f 1", HardLink: true}, ""},
		node{Entry{Path: "soft", Mode: syscall.S_IFLNK | 0o777, Target: "../../etc"}, ""},
		node{Entry{Path: "big", Mode: file}, strings.Repeat("0123456789", 100_000)})
	var w writeCounter
	out := NewBatch(&w)
	if err := errors.Join(out.Tree(source(want)), out.Frame(TypeEnd, nil), out.Flush()); err != nil {
		t.Fatal(err)
	}
	if w.writes > w.Len()/packet*5/4+2 || w.longest > packet {
		t.Errorf("%d bytes in %d writes, the longest of %d bytes", w.Len(), w.writes, w.longest)
	}
	got, err := drain(NewReader(bytes.NewReader(w.Bytes()), Agent).Tree(), 0)
	if err != io.EOF || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %d nodes, want %d", err, len(got), len(want))
	}
	got, err = drain(NewReader(bytes.NewReader(w.Bytes()), Host).Tree(), 3)
	if err != io.EOF || len(got) != len(want) || got[4].data != want[4].data {
		t.Errorf("with files that are not read: %v: %d nodes, want %d", err, len(got), len(want))
	}
}

// frames returns frames as bytes: types, each with its payload.
func frames(parts ...any) []byte {
	var b bytes.Buffer
	for i := 0; i < len(parts); i += 2 {
		_ = NewWriter(&b).Frame(parts[i].(Type), []byte(parts[i+1].(string)))
	}
	return b.Bytes()
}

// TestHostileTrees: a tree that is none ends with an error, and what came before it is
// within the tree.
func TestHostileTrees(t *testing.T) {
	const top, file = `{"path":".","mode":16877}`, `{"path":"a","mode":33188}`
	link := func(target string) string {
		return `{"path":"l","mode":33188,"hard_link":true,"target":"` + target + `"}`
	}
	for _, tt := range []struct {
		name   string
		script []byte
		want   string
	}{
		{"nothing", nil, io.ErrUnexpectedEOF.Error()},
		{"no top", frames(TypeEnd, ""), "in the place of an entry"},
		{"top last", frames(TypeEntry, file), "not the top first"},
		{"two tops", frames(TypeEntry, top, TypeEntry, top), "not the top first"},
		{"below a file", frames(TypeEntry, `{"path":".","mode":33188}`, TypeEnd, "", TypeEntry, file), "not the top first"},
		{"up", frames(TypeEntry, top, TypeEntry, `{"path":"../x","mode":33188}`), "violation"},
		{"up within", frames(TypeEntry, top, TypeEntry, `{"path":"a/../../x","mode":33188}`), "violation"},
		{"absolute", frames(TypeEntry, top, TypeEntry, `{"path":"/etc/x","mode":33188}`), "violation"},
		{"hard link up", frames(TypeEntry, top, TypeEntry, link("../x")), "violation"},
		{"hard link away", frames(TypeEntry, top, TypeEntry, link("/etc/passwd")), "violation"},
		{"no type", frames(TypeEntry, `{"path":".","mode":493}`), "violation"},
		{"data of a directory", frames(TypeEntry, top, TypeData, "x"), "in the place of an entry"},
		{"data after the end", frames(TypeEntry, top, TypeEntry, file, TypeEnd, "", TypeData, "x"), "in the place of an entry"},
		{"no end of data", frames(TypeEntry, top, TypeEntry, file, TypeData, "x", TypeEntry, file), "in the data of a file"},
		{"cut off", frames(TypeEntry, top, TypeEntry, file, TypeData, "x"), io.ErrUnexpectedEOF.Error()},
		{"failure", frames(TypeEntry, top, TypeEntry, file, TypeData, "x", TypeError, `{"kind":"no_space","message":"\u001b[2J"}`), "?[2J"},
		{"failure is no JSON", frames(TypeEntry, top, TypeError, "no"), "violation"},
		{"not JSON", frames(TypeEntry, "no"), "violation"},
		{"unknown key", frames(TypeEntry, `{"path":".","mode":16877,"x":1}`), "violation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(bytes.NewReader(tt.script), Agent).Tree()
			_, err := drain(r, 0)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if _, _, again := r.Next(); again == nil {
				t.Error("the tree goes on after its error")
			}
		})
	}
}

// TestDataThatFail: an error of what is read ends the sending, without an end.
func TestDataThatFail(t *testing.T) {
	var w bytes.Buffer
	out := NewBatch(&w)
	broken := errors.New("broken disk")
	if err := out.Data(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken))); err != broken {
		t.Errorf("error %v", err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(NewReader(&w, Agent).Data())
	if string(got) != "abc" || err != io.ErrUnexpectedEOF {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzTree(f *testing.F) {
	const top, file = `{"path":".","mode":16877}`, `{"path":"a","mode":33188}`
	f.Add(frames(TypeEntry, top, TypeEntry, file, TypeData, "x", TypeEnd, "", TypeEnd, ""))
	f.Add(frames(TypeEntry, top, TypeEntry, `{"path":"../a","mode":33188}`))
	f.Add(frames(TypeEntry, file, TypeError, `{"kind":"no_space","message":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		nodes, err := drain(NewReader(bytes.NewReader(b), Agent).Tree(), 0)
		if err == nil {
			t.Fatal("no end")
		}
		for i, n := range nodes {
			if err := n.Validate(); err != nil || (n.Path == ".") != (i == 0) {
				t.Fatalf("entry %d is %q: %v", i, n.Path, err)
			}
			if err := NewBatch(io.Discard).json(TypeEntry, n.Entry); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzFileMessages(f *testing.F) {
	for _, v := range []any{exampleWrite, exampleInfo, WatchEvent{Path: "/a", Op: WatchWrite}, everything(FileWrite)} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := DecodeFileRequest(b); err == nil {
			var w bytes.Buffer
			if err := NewWriter(&w).FileRequest(q); err != nil {
				t.Fatal(err)
			}
			fr, err := NewReader(&w, Host).Next()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := DecodeFileRequest(fr.Payload); err != nil || !reflect.DeepEqual(again, q) {
				t.Fatalf("%+v became %+v: %v", q, again, err)
			}
		}
		if i, err := DecodeFileInfo(b); err == nil && (strings.ContainsAny(string(i.Name), "/\x00") || i.Name == "..") {
			t.Fatalf("accepted %q", i.Name)
		}
		if e, err := DecodeWatchEvent(b); err == nil && (e.Path[0] != '/' || strings.Contains(string(e.Path), "\x00")) {
			t.Fatalf("accepted %q", e.Path)
		}
	})
}
