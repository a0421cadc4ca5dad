package agentproto

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// Examples with every key.
var (
	exampleSignal  = SessionSignal{Session: MainSession, Signal: 15, Group: true}
	exampleSession = Session{
		ID: "3", PID: 57, Argv: []string{"sleep", "60"}, User: "nobody", TTY: true, Attached: true, Running: true,
		StartedNS: 1764000001000000000,
	}
	endedSession   = Session{ID: "4", PID: 58, Argv: []string{"/bin/false"}, Exit: &Exit{Code: 1}, StartedNS: 1764000002000000000}
	exampleProcess = ProcessInfo{
		PID: 57, PPID: 1, User: "nobody", State: "S", CPUMS: 20, RSSBytes: 1 << 20, StartedNS: 1764000001000000000, Command: "sleep 60",
	}
	exampleStats = GuestStats{
		UptimeMS: 61000, CPUMS: 1500, IdleMS: 120500, Load1: 0.25, MemTotal: 256 << 20, MemAvailable: 200 << 20, MemFree: 150 << 20,
		Cached: 40 << 20, SwapTotal: 64 << 20, SwapFree: 63 << 20, Processes: 7, Sessions: 2, OOMKills: 1, RootTotal: 4 << 30, RootFree: 3 << 30,
	}
)

// TestDecodeRefuses: what a hostile end may say and what makes no sense.
func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		decode func([]byte) error
		in     []string
	}{
		{"request", only(DecodeRequest), []string{
			`{"holt":3,"op":"ping","detached":true}`, `{"holt":3,"op":"exec","session":"1"}`,
		}},
		{"program", only(DecodeProgram), []string{
			`{}`, `{"path":"a","timeout_ms":-1}`, `{"path":"a","timeout_ms":31536000001}`, `{"login":true,"path":"\u0000"}`,
		}},
		{"attach", only(DecodeAttach), []string{
			`{}`, `{"session":""}`, `{"session":"main"}`, `{"session":"../1"}`, `{"session":"-1"}`, `{"session":"1","more":1}`,
			`{"session":"` + strings.Repeat("1", MaxSessionID+1) + `"}`,
		}},
		{"signal", only(DecodeSessionSignal), []string{
			`{"session":"1"}`, `{"session":"1","signal":65}`, `{"session":"1","signal":-9}`, `{"session":"x","signal":9}`,
		}},
		{"started", only(DecodeStarted), []string{`{"pid":1,"session":"a\u001b[2J"}`, `{"pid":1,"session":"/etc"}`}},
		{"exit", only(DecodeExit), []string{`{"code":1,"timeout":true}`, `{"signal":11,"oom":true}`, `{"code":256}`}},
		{"session", only(DecodeSession), []string{
			`{"id":"1","pid":0,"running":true}`, `{"id":"x","pid":1,"running":true}`, `{"id":"1","pid":1}`,
			`{"id":"1","pid":1,"running":true,"exit":{"code":0}}`, `{"id":"1","pid":1,"exit":{"code":-1}}`,
		}},
		{"process", only(DecodeProcessInfo), []string{`{}`, `{"pid":-1}`, `{"pid":1,"cpu_ms":-1}`, `{"pid":1,"rss_bytes":-1}`, `{"pid":1,"user":7}`}},
		{"stats", only(DecodeGuestStats), []string{`[]`, `{"mem_free":-1}`, `{"sessions":-1}`, `{"load1":-1}`, `{"load1":1e999}`}},
	} {
		for _, in := range tt.in {
			if _, ok := errors.AsType[*ViolationError](tt.decode([]byte(in))); !ok {
				t.Errorf("%s %s is accepted", tt.name, in)
			}
		}
	}
}

func only[T any](decode func([]byte) (T, error)) func([]byte) error {
	return func(b []byte) error { _, err := decode(b); return err }
}

func TestLoginNeedsNoPath(t *testing.T) {
	if _, err := DecodeProgram([]byte(`{"login":true}`)); err != nil {
		t.Error(err)
	}
}

// TestAsk: both parts arrive, in one piece, and nothing of what is not valid.
func TestAsk(t *testing.T) {
	var writes int
	var b bytes.Buffer
	w := NewWriter(writerFunc(func(p []byte) (int, error) { writes++; return b.Write(p) }))
	if err := w.Ask(Request{Op: OpExec}, Program{}); err == nil || writes != 0 {
		t.Errorf("a program without a path: %v, %d writes", err, writes)
	}
	if err := w.Ask(Request{Op: OpExec}, Program{Path: "a", Args: []string{strings.Repeat("x", MaxSpec)}}); err == nil || writes != 0 {
		t.Errorf("a large program: %v, %d writes", err, writes)
	}
	want := Program{Path: "sh", Args: []string{strings.Repeat("x", MaxSpec/2)}}
	if err := w.Ask(Request{Op: OpExec, Detached: true}, want); err != nil || writes != 1 {
		t.Fatalf("%v, %d writes", err, writes)
	}
	r := NewReader(&b, Host)
	if q, err := r.Request(); err != nil || q != (Request{Holt: Version, Op: OpExec, Detached: true}) {
		t.Errorf("%+v, %v", q, err)
	}
	f, err := r.Next()
	if err != nil || f.Type != TypeSpec {
		t.Fatal(f.Type, err)
	}
	if got, err := DecodeProgram(f.Payload); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%d bytes, %v", len(f.Payload), err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestLongLine: a header line may be longer than the buffer of a Reader, up to its limit.
func TestLongLine(t *testing.T) {
	for size, ok := range map[int]bool{readBuffer - 1: true, readBuffer: true, MaxLine: true, MaxLine + 1: false} {
		const head, tail = `{"holt":3,"op":"ping"`, "}\n"
		line := head + strings.Repeat(" ", size-len(head)-len(tail)) + tail
		r := NewReader(strings.NewReader(line+"\x18\x00\x00\x00\x00\x00\x00\x00"), Host)
		if q, err := r.Request(); (err == nil) != ok || ok && q.Op != OpPing {
			t.Errorf("line of %d bytes: %+v, %v", size, q, err)
		}
	}
}

// FuzzReports decodes what the agent answers. What is accepted makes sense.
func FuzzReports(f *testing.F) {
	for _, v := range []any{exampleSession, endedSession, exampleProcess, exampleStats, exampleSignal, Attach{"1"}, Started{57, "3"}, Exit{Signal: 9, OOM: true}} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := DecodeSession(b); err == nil && (checkSession(s.ID) != nil || s.PID < 1 || s.Running == (s.Exit != nil)) {
			t.Fatalf("accepted %+v", s)
		}
		if p, err := DecodeProcessInfo(b); err == nil && (p.PID < 1 || p.CPUMS < 0) {
			t.Fatalf("accepted %+v", p)
		}
		if s, err := DecodeGuestStats(b); err == nil && (s.MemTotal < 0 || s.Load1 < 0) {
			t.Fatalf("accepted %+v", s)
		}
		if s, err := DecodeSessionSignal(b); err == nil && s.Validate() != nil {
			t.Fatalf("accepted %+v", s)
		}
		if a, err := DecodeAttach(b); err == nil && (a.Session == "" || strings.Trim(a.Session, digits) != "") {
			t.Fatalf("accepted %+v", a)
		}
		if s, err := DecodeStarted(b); err == nil && len(s.Session) > MaxSessionID {
			t.Fatalf("accepted %+v", s)
		}
	})
}
