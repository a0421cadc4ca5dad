package agentproto

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestNextRefuses(t *testing.T) {
	tests := []struct {
		name string
		from Sender
		in   string
		want string // part of the error
	}{
		{"unknown type", Host, "\x63\x00\x00\x00\x00\x00\x00\x00", "unexpected frame of type 99"},
		{"type zero", Agent, "\x00\x00\x00\x00\x00\x00\x00\x00", "unexpected frame of type 0"},
		{"agent's type from the host", Host, "\x12\x00\x00\x00\x01\x00\x00\x00x", "unexpected frame of type 18"},
		{"host's type from the agent", Agent, "\x02\x00\x00\x00\x01\x00\x00\x00x", "unexpected frame of type 2"},
		{"reserved bytes", Host, "\x02\x00\x01\x00\x01\x00\x00\x00x", "reserved"},
		{"absurd length", Agent, "\x12\x00\x00\x00\xff\xff\xff\xff", "4294967295 bytes"},
		{"just too long", Agent, "\x12\x00\x00\x00\x01\x00\x01\x00", "65537 bytes"},
		{"specification too long", Host, "\x01\x00\x00\x00\x01\x00\x10\x00", "1048577 bytes"},
		{"empty output", Agent, "\x12\x00\x00\x00\x00\x00\x00\x00", "0 bytes"},
		{"short credit", Agent, "\x16\x00\x00\x00\x03\x00\x00\x00abc", "3 bytes, not 4 to 4"},
		{"payload where there is none", Host, "\x03\x00\x00\x00\x01\x00\x00\x00x", "1 bytes, not 0 to 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tt.in), tt.from)
			_, err := r.Next()
			var v *ViolationError
			if !errors.As(err, &v) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want a violation with %q", err, tt.want)
			}
			if cap(r.buf) > 0 {
				t.Errorf("%d bytes were allocated for it", cap(r.buf))
			}
		})
	}
}

func TestNextEnds(t *testing.T) {
	whole := "\x02\x00\x00\x00\x02\x00\x00\x00xy"
	for n := range len(whole) {
		_, err := NewReader(strings.NewReader(whole[:n]), Host).Next()
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Errorf("after %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestLargestFrames(t *testing.T) {
	for _, f := range []struct {
		t    Type
		from Sender
		n    int
	}{{TypeSpec, Host, MaxSpec}, {TypeStdin, Host, MaxPayload}, {TypeStdout, Agent, MaxPayload}} {
		var b bytes.Buffer
		want := bytes.Repeat([]byte{'x'}, f.n)
		if err := NewWriter(&b).Frame(f.t, want); err != nil {
			t.Fatal(err)
		}
		got, err := NewReader(&b, f.from).Next()
		if err != nil || !bytes.Equal(got.Payload, want) {
			t.Errorf("type %d: %d bytes, %v", f.t, len(got.Payload), err)
		}
	}
}

func TestHeaderLines(t *testing.T) {
	long := `{"holt":3,"kernel":"` + strings.Repeat("x", MaxLine) + `"}` + "\n"
	tests := []struct {
		name, in, want string
	}{
		{"too long", long, "longer than 65536 bytes"},
		{"endless", strings.Repeat("x", 2*MaxLine), "longer than 65536 bytes"},
		{"cut off", `{"holt":3`, "unexpected EOF"},
		{"not JSON", "GET / HTTP/1.1\n", "violation"},
		{"two values", `{"holt":3,"op":"ping"} {}` + "\n", "data after"},
		{"other version", `{"holt":9,"op":"ping","new":true}` + "\n", "the other end speaks 9, this end 3"},
		{"no version", `{"op":"ping"}` + "\n", "the other end speaks 0"},
		{"unknown key", `{"holt":3,"op":"ping","force":true}` + "\n", "force"},
		{"unknown operation", `{"holt":3,"op":"format"}` + "\n", `unknown operation "format"`},
		{"negative grace", `{"holt":3,"op":"shutdown","grace_ms":-1}` + "\n", "grace_ms -1"},
		{"far clock", `{"holt":3,"op":"clock","adjust_ns":-9223372036854775808}` + "\n", "adjust_ns -9223372036854775808"},
		{"endless grace", `{"holt":3,"op":"shutdown","grace_ms":3600001}` + "\n", "grace_ms 3600001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewReader(strings.NewReader(tt.in), Host).Request()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := NewReader(strings.NewReader(`{"holt":3,"kernel":"7.0","later":1}`+"\n"), Agent).Hello(); err != nil {
		t.Errorf("hello with an unknown key: %v", err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*BootSpec)
		want   string // part of the error, or empty if valid
	}{
		{"example", func(*BootSpec) {}, ""},
		{"no root", func(s *BootSpec) { s.Mounts = s.Mounts[1:] }, `target "/"`},
		{"two roots", func(s *BootSpec) { s.Mounts[1].Target = "/" }, "given twice"},
		{"relative target", func(s *BootSpec) { s.Mounts[1].Target = "data" }, "absolute and clean"},
		{"target with dots", func(s *BootSpec) { s.Mounts[1].Target = "/a/../b" }, "absolute and clean"},
		{"overlay elsewhere", func(s *BootSpec) { s.Mounts[1].Overlay = true }, "only the root"},
		{"long tag", func(s *BootSpec) { s.Mounts[1].Tag = strings.Repeat("x", 37) }, "tag"},
		{"empty tag", func(s *BootSpec) { s.Mounts[0].Tag = "" }, "tag"},
		{"many mounts", func(s *BootSpec) { s.Mounts = make([]Mount, 257) }, "at most 256"},
		{"disk elsewhere", func(s *BootSpec) { s.Mounts[1].Kind = MountDisk }, "only the root"},
		{"disk", func(s *BootSpec) { s.Mounts[0].Kind = MountDisk }, ""},
		{"long serial", func(s *BootSpec) {
			s.Mounts[0] = Mount{Kind: MountDisk, Target: "/", Tag: strings.Repeat("x", 21)}
		}, "serial"},
		{"serial with a slash", func(s *BootSpec) { s.Mounts[0] = Mount{Kind: MountDisk, Target: "/", Tag: "a/b"} }, "serial"},
		{"disk without a serial", func(s *BootSpec) { s.Mounts[0] = Mount{Kind: MountDisk, Target: "/"} }, "serial"},
		{"memory", func(s *BootSpec) { s.Mounts[0] = Mount{Kind: MountMemory, Target: "/"} }, ""},
		{"memory elsewhere", func(s *BootSpec) { s.Mounts[1] = Mount{Kind: MountMemory, Target: "/m"} }, "only the root"},
		{"memory with a tag", func(s *BootSpec) { s.Mounts[0] = Mount{Kind: MountMemory, Target: "/", Tag: "x"} }, "tag"},
		{"overlay over memory", func(s *BootSpec) { s.Mounts[0] = Mount{Kind: MountMemory, Target: "/", Overlay: true} }, "overlay"},
		{"unknown kind", func(s *BootSpec) { s.Mounts[0].Kind = "tape" }, `kind "tape"`},
		{"bad network", func(s *BootSpec) { s.Network = &Network{} }, "network: mac"},
		{"long host name", func(s *BootSpec) { s.Hostname = strings.Repeat("x", 65) }, "hostname"},
		{"host name of two lines", func(s *BootSpec) { s.Hostname = "a\nb" }, "hostname"},
		{"clock before 1970", func(s *BootSpec) { s.ClockNS = -1 }, "clock_ns"},
		{"no path", func(s *BootSpec) { s.Program.Path = "" }, "program: path"},
		{"NUL in path", func(s *BootSpec) { s.Program.Path = "a\x00b" }, "path"},
		{"NUL in argument", func(s *BootSpec) { s.Program.Args = []string{"ok", "a\x00"} }, "args[1]"},
		{"argument that JSON would change", func(s *BootSpec) { s.Program.Args = []string{"\xff"} }, "args[0]"},
		{"variable without a key", func(s *BootSpec) { s.Program.Env = []string{"=x"} }, "env[0]"},
		{"variable without a value", func(s *BootSpec) { s.Program.Env = []string{"x"} }, "env[0]"},
		{"relative cwd", func(s *BootSpec) { s.Program.Cwd = "srv" }, "cwd"},
		{"unknown resource", func(s *BootSpec) { s.Program.Rlimits = []Rlimit{{Resource: 16}} }, "must be 0 to 15"},
		{"limit twice", func(s *BootSpec) { s.Program.Rlimits = []Rlimit{{Resource: 3}, {Resource: 3}} }, "given twice"},
		{"soft above hard", func(s *BootSpec) { s.Program.Rlimits = []Rlimit{{Resource: 3, Soft: 2, Hard: 1}} }, "above"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := exampleBootSpec()
			tt.change(&s)
			err := s.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && NewWriter(io.Discard).BootSpec(s) == nil {
				t.Error("the writer accepts it")
			}
		})
	}
}

func TestSpecTooLarge(t *testing.T) {
	var b bytes.Buffer
	spec := exampleBootSpec()
	spec.Program.Args = []string{strings.Repeat("x", MaxSpec)}
	err := NewWriter(&b).BootSpec(spec)
	if err == nil || b.Len() > 0 {
		t.Errorf("error %v, %d bytes written", err, b.Len())
	}
}

func TestErrorIsBounded(t *testing.T) {
	for _, msg := range []string{strings.Repeat("x", 1<<20), strings.Repeat("\x01", 1<<20), strings.Repeat("é", 1<<19)} {
		var b bytes.Buffer
		if err := NewWriter(&b).Error(&Error{Kind: KindMount, Message: msg}); err != nil {
			t.Fatal(err)
		}
		f, err := NewReader(&b, Agent).Next()
		if err != nil {
			t.Fatal(err)
		}
		e, err := DecodeError(f.Payload)
		if err != nil || e.Kind != KindMount || len(e.Message) < 512 || !strings.HasPrefix(msg, e.Message) {
			t.Errorf("%v: %d bytes", err, len(e.Message))
		}
	}
}

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // -1: refused
	}{
		{`{"code":0}`, 0}, {`{"code":255}`, 255}, {`{"signal":9}`, 137},
		{`{"code":256}`, -1}, {`{"code":-1}`, -1}, {`{"signal":65}`, -1}, {`{"code":1,"signal":9}`, -1}, {`[]`, -1},
	} {
		e, err := DecodeExit([]byte(tt.in))
		if got := e.Status(); (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%s: %d, %v", tt.in, got, err)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got := Printable("a\x1b[31m\nb\tü\x00\xff", 100); got != "a?[31m\nb\tü??" && got != "a?[31m\nb\tü?\ufffd" {
		t.Errorf("%q", got)
	}
	if got := Printable("üüü", 3); got != "ü" {
		t.Errorf("%q", got)
	}
}
