package agentproto

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// exampleProgram uses every field.
var exampleProgram = Program{
	Path: "sh", Login: true, Args: []string{"-c", "echo hello"}, Env: []string{"LANG=C.UTF-8"}, Cwd: "/srv", User: "nobody:users",
	TTY: true, Window: WindowSize{Rows: 24, Cols: 80}, Stdin: true, TimeoutMS: 60000,
	Rlimits: []Rlimit{{Resource: 7, Soft: 1024, Hard: 1<<64 - 1}},
}

// goldens are one of each message: how it is written, and what reading the
// same bytes must give.
var goldens = []struct {
	name  string
	from  Sender
	write func(*Writer) error
	read  func(*Reader) (any, error)
	want  any
}{
	{"hello", Agent,
		func(w *Writer) error {
			return w.Hello(Hello{Kernel: "6.1.0-56-cloud-amd64", Machine: "x86_64", PID: 1, StartUS: 1251784, DialUS: 1411009})
		},
		func(r *Reader) (any, error) { return r.Hello() },
		Hello{Holt: 3, Kernel: "6.1.0-56-cloud-amd64", Machine: "x86_64", PID: 1, StartUS: 1251784, DialUS: 1411009}},
	{"boot-spec", Host,
		func(w *Writer) error { return w.BootSpec(exampleBootSpec()) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeBootSpec(f.Payload) }), exampleBootSpec()},
	{"boot-spec-network", Host,
		func(w *Writer) error { return w.BootSpec(networkBootSpec()) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeBootSpec(f.Payload) }), networkBootSpec()},
	{"boot-spec-memory", Host,
		func(w *Writer) error { return w.BootSpec(memoryBootSpec()) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeBootSpec(f.Payload) }), memoryBootSpec()},
	{"boot-spec-hold", Host,
		func(w *Writer) error { return w.BootSpec(heldBootSpec()) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeBootSpec(f.Payload) }), heldBootSpec()},
	{"request-freeze", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpFreeze}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpFreeze}},
	{"freeze", Agent,
		func(w *Writer) error { return w.json(TypeReport, Freeze{Addr: 0x1f42000}, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeFreeze(f.Payload) }), Freeze{Addr: 0x1f42000}},
	{"request-renew", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpRenew}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpRenew}},
	{"renewal", Host,
		func(w *Writer) error { return w.json(TypeSpec, exampleRenewal(), MaxSpec) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeRenewal(f.Payload) }), exampleRenewal()},
	{"request-exec", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpExec}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpExec}},
	{"request-exec-detached", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpExec, Detached: true}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpExec, Detached: true}},
	{"request-attach", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpAttach}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpAttach}},
	{"request-sessions", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpSessions}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpSessions}},
	{"request-signal", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpSignal}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpSignal}},
	{"request-processes", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpProcesses}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpProcesses}},
	{"request-stats", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpStats}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpStats}},
	{"request-ping", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpPing}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpPing}},
	{"request-shutdown", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpShutdown, GraceMS: 5000}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpShutdown, GraceMS: 5000}},
	{"request-clock", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpClock, AdjustNS: -1500}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: 3, Op: OpClock, AdjustNS: -1500}},
	{"clock", Agent,
		func(w *Writer) error { return w.json(TypeReport, Clock{1764000000000000000}, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeClock(f.Payload) }), Clock{1764000000000000000}},
	{"program", Host,
		func(w *Writer) error { return w.json(TypeSpec, exampleProgram, MaxSpec) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeProgram(f.Payload) }), exampleProgram},
	{"attach", Host,
		func(w *Writer) error { return w.json(TypeSpec, Attach{Session: "3"}, MaxSpec) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeAttach(f.Payload) }), Attach{Session: "3"}},
	{"session-signal", Host,
		func(w *Writer) error { return w.json(TypeSpec, exampleSignal, MaxSpec) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeSessionSignal(f.Payload) }), exampleSignal},
	{"session", Agent,
		func(w *Writer) error { return w.json(TypeReport, exampleSession, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeSession(f.Payload) }), exampleSession},
	{"session-ended", Agent,
		func(w *Writer) error { return w.json(TypeReport, endedSession, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeSession(f.Payload) }), endedSession},
	{"process-info", Agent,
		func(w *Writer) error { return w.json(TypeReport, exampleProcess, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeProcessInfo(f.Payload) }), exampleProcess},
	{"guest-stats", Agent,
		func(w *Writer) error { return w.json(TypeReport, exampleStats, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeGuestStats(f.Payload) }), exampleStats},
	{"stdin", Host,
		func(w *Writer) error { return w.Frame(TypeStdin, []byte("abc\n")) },
		frame(TypeStdin, func(f Frame) (any, error) { return string(f.Payload), nil }), "abc\n"},
	{"stdin-eof", Host,
		func(w *Writer) error { return w.Frame(TypeStdinEOF, nil) },
		frame(TypeStdinEOF, func(f Frame) (any, error) { return len(f.Payload), nil }), 0},
	{"winsize", Host,
		func(w *Writer) error { return w.WindowSize(WindowSize{Rows: 24, Cols: 80}) },
		frame(TypeWinsize, func(f Frame) (any, error) { return f.WindowSize(), nil }), WindowSize{Rows: 24, Cols: 80}},
	{"signal", Host,
		func(w *Writer) error { return w.Signal(15) },
		frame(TypeSignal, func(f Frame) (any, error) { return f.Signal() }), 15},
	{"detach", Host,
		func(w *Writer) error { return w.Frame(TypeDetach, nil) },
		frame(TypeDetach, func(f Frame) (any, error) { return len(f.Payload), nil }), 0},
	{"started", Agent,
		func(w *Writer) error { return w.Started(Started{PID: 57, Session: "3"}) },
		frame(TypeStarted, func(f Frame) (any, error) { return DecodeStarted(f.Payload) }), Started{PID: 57, Session: "3"}},
	{"stdout", Agent,
		func(w *Writer) error { return w.Frame(TypeStdout, []byte("out\n")) },
		frame(TypeStdout, func(f Frame) (any, error) { return string(f.Payload), nil }), "out\n"},
	{"stderr", Agent,
		func(w *Writer) error { return w.Frame(TypeStderr, []byte("err\n")) },
		frame(TypeStderr, func(f Frame) (any, error) { return string(f.Payload), nil }), "err\n"},
	{"exit-code", Agent,
		func(w *Writer) error { return w.Exit(Exit{Code: 3}) },
		frame(TypeExit, func(f Frame) (any, error) { return DecodeExit(f.Payload) }), Exit{Code: 3}},
	{"exit-signal", Agent,
		func(w *Writer) error { return w.Exit(Exit{Signal: 11, Core: true}) },
		frame(TypeExit, func(f Frame) (any, error) { return DecodeExit(f.Payload) }), Exit{Signal: 11, Core: true}},
	{"exit-timeout", Agent,
		func(w *Writer) error { return w.Exit(Exit{Signal: 9, Timeout: true}) },
		frame(TypeExit, func(f Frame) (any, error) { return DecodeExit(f.Payload) }), Exit{Signal: 9, Timeout: true}},
	{"exit-oom", Agent,
		func(w *Writer) error { return w.Exit(Exit{Signal: 9, OOM: true}) },
		frame(TypeExit, func(f Frame) (any, error) { return DecodeExit(f.Payload) }), Exit{Signal: 9, OOM: true}},
	{"error", Agent,
		func(w *Writer) error {
			return w.Error(&Error{Kind: KindNotFound, Message: "/bin/x does not exist in the guest"})
		},
		frame(TypeError, func(f Frame) (any, error) { return DecodeError(f.Payload) }),
		&Error{Kind: KindNotFound, Message: "/bin/x does not exist in the guest"}},
	{"credit", Agent,
		func(w *Writer) error { return w.Credit(StdinWindow) },
		frame(TypeCredit, func(f Frame) (any, error) { return f.Credit(), nil }), uint32(StdinWindow)},
	{"stdin-closed", Agent,
		func(w *Writer) error { return w.Frame(TypeStdinClosed, nil) },
		frame(TypeStdinClosed, func(f Frame) (any, error) { return len(f.Payload), nil }), 0},
	{"ok", Agent,
		func(w *Writer) error { return w.Frame(TypeOK, nil) },
		frame(TypeOK, func(f Frame) (any, error) { return len(f.Payload), nil }), 0},
	{"request-file", Host,
		func(w *Writer) error { return w.Request(Request{Op: OpFile}) },
		func(r *Reader) (any, error) { return r.Request() }, Request{Holt: Version, Op: OpFile}},
	{"file-request", Host,
		func(w *Writer) error { return w.FileRequest(exampleWrite) },
		frame(TypeSpec, func(f Frame) (any, error) { return DecodeFileRequest(f.Payload) }), exampleWrite},
	{"file-info", Agent,
		func(w *Writer) error { return w.json(TypeReport, exampleInfo, MaxEntry) },
		frame(TypeReport, func(f Frame) (any, error) { return DecodeFileInfo(f.Payload) }), exampleInfo},
	{"watch-event", Agent,
		func(w *Writer) error {
			return w.json(TypeReport, WatchEvent{Path: "/srv/new", Op: WatchCreate}, MaxEntry)
		},
		frame(TypeReport, func(f Frame) (any, error) { return DecodeWatchEvent(f.Payload) }),
		WatchEvent{Path: "/srv/new", Op: WatchCreate}},
	{"entry", Agent,
		func(w *Writer) error { return w.json(TypeEntry, exampleEntry, MaxEntry) },
		frame(TypeEntry, func(f Frame) (any, error) { return DecodeEntry(f.Payload) }), exampleEntry},
	{"data", Host,
		func(w *Writer) error { return w.Frame(TypeData, []byte("abc\n")) },
		frame(TypeData, func(f Frame) (any, error) { return string(f.Payload), nil }), "abc\n"},
	{"end", Host,
		func(w *Writer) error { return w.Frame(TypeEnd, nil) },
		frame(TypeEnd, func(f Frame) (any, error) { return len(f.Payload), nil }), 0},
}

func exampleBootSpec() BootSpec {
	return BootSpec{
		Holt: Version, Hostname: "holt", ClockNS: 1764000000000000000,
		Mounts: []Mount{
			{Tag: "root", Target: "/", Overlay: true},
			{Tag: "dir0", Target: "/data", ReadOnly: true},
		},
		Nested:  true,
		Program: Program{Path: "/bin/true"},
	}
}

// networkBootSpec has a disk for its root, and every key of a network.
func networkBootSpec() BootSpec {
	addr := netip.MustParseAddr
	return BootSpec{
		Holt: Version, Hostname: "holt",
		Mounts: []Mount{{Kind: MountDisk, Tag: "root", Target: "/"}},
		Network: &Network{
			MAC: "02:00:00:00:00:01", MTU: 65520,
			Addresses:   []netip.Prefix{netip.MustParsePrefix("192.0.2.2/24"), netip.MustParsePrefix("2001:db8::2/64")},
			Gateways:    []netip.Addr{addr("192.0.2.1"), addr("2001:db8::1")},
			Nameservers: []netip.Addr{addr("192.0.2.1")},
			Search:      []string{"example.org"},
			Hosts:       []HostEntry{{Addr: addr("192.0.2.254"), Names: []string{"host.holt.internal"}}},
		},
		Program: Program{Path: "/bin/true"},
	}
}

func memoryBootSpec() BootSpec {
	return BootSpec{
		Holt:    Version,
		Mounts:  []Mount{{Kind: MountMemory, Target: "/", ReadOnly: true}},
		Program: Program{Path: "/bin/true"},
	}
}

func heldBootSpec() BootSpec {
	s := memoryBootSpec()
	s.Hold, s.Program = true, Program{}
	return s
}

// frame reads a frame of a type and then decodes it.
func frame(t Type, decode func(Frame) (any, error)) func(*Reader) (any, error) {
	return func(r *Reader) (any, error) {
		f, err := r.Next()
		if err != nil {
			return nil, err
		}
		if f.Type != t {
			return f.Type, nil
		}
		return decode(f)
	}
}

// text is how a message is shown in a golden file: a line as it is; a frame as
// its header and its payload, JSON as it is and everything else in
// hexadecimal.
func text(b []byte) string {
	if b[0] == '{' {
		return string(b)
	}
	head, payload := b[:HeaderSize], b[HeaderSize:]
	switch {
	case len(payload) == 0:
		return hex.EncodeToString(head) + "\n"
	case payload[0] == '{':
		return hex.EncodeToString(head) + " " + string(payload) + "\n"
	}
	return hex.EncodeToString(head) + " " + hex.EncodeToString(payload) + "\n"
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := g.write(NewWriter(&b)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", g.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(text(b.Bytes())), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(b.Bytes()); got != string(want) {
				t.Errorf("written: %s\nwant:    %s", got, want)
			}
			got, err := g.read(NewReader(&b, g.from))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, g.want) {
				t.Errorf("read %#v, want %#v", got, g.want)
			}
		})
	}
}

// TestSpecification holds the examples of the specification to the golden
// files: each is a block that begins with the file's name.
func TestSpecification(t *testing.T) {
	doc, err := os.ReadFile("../../docs/agent-protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]string{}
	for i, block := range strings.Split(string(doc), "```") {
		if i%2 == 0 {
			continue
		}
		name, body, _ := strings.Cut(block, "\n")
		if name, ok := strings.CutPrefix(name, "text "); ok {
			examples[name] = body
		}
	}
	for _, g := range goldens {
		want, err := os.ReadFile(filepath.Join("testdata", g.name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if examples[g.name] != string(want) {
			t.Errorf("example %s of docs/agent-protocol.md is\n%swant\n%s", g.name, examples[g.name], want)
		}
		delete(examples, g.name)
	}
	for name := range examples {
		t.Errorf("example %s of docs/agent-protocol.md has no golden file", name)
	}
}
