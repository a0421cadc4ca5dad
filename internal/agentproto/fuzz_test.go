package agentproto

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// seed adds every golden message to f.
func seed(f *testing.F) {
	for _, g := range goldens {
		var b bytes.Buffer
		if err := g.write(NewWriter(&b)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
}

// FuzzFrames reads frames and everything that they may carry. Whatever is
// accepted is within the limits and is written back as the same bytes.
func FuzzFrames(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, from := range []Sender{Host, Agent} {
			r := NewReader(bytes.NewReader(b), from)
			at := 0
			for {
				fr, err := r.Next()
				if err != nil {
					break
				}
				var w bytes.Buffer
				if err := NewWriter(&w).Frame(fr.Type, fr.Payload); err != nil {
					t.Fatal(err)
				}
				if !bytes.HasPrefix(b[at:], w.Bytes()) {
					t.Fatalf("frame at %d is written as %x", at, w.Bytes())
				}
				at += w.Len()
				decodeAny(t, fr)
			}
			if cap(r.buf) > MaxSpec {
				t.Fatalf("buffer of %d bytes", cap(r.buf))
			}
		}
	})
}

func decodeAny(t *testing.T, fr Frame) {
	switch fr.Type {
	case TypeSpec:
		_, _ = DecodeBootSpec(fr.Payload)
		_, _ = DecodeProgram(fr.Payload)
		_, _ = DecodeRenewal(fr.Payload)
	case TypeReport:
		if f, err := DecodeFreeze(fr.Payload); err == nil && (f.Addr == 0 || f.Addr%4096 != 0) {
			t.Fatalf("mailbox at %#x", f.Addr)
		}
	case TypeStarted:
		_, _ = DecodeStarted(fr.Payload)
	case TypeExit:
		if e, err := DecodeExit(fr.Payload); err == nil && (e.Status() < 0 || e.Status() > 255) {
			t.Fatalf("exit status %d", e.Status())
		}
	case TypeError:
		if e, err := DecodeError(fr.Payload); err == nil && len(e.Message) > MaxMessage {
			t.Fatalf("message of %d bytes", len(e.Message))
		}
	case TypeCredit:
		_ = fr.Credit()
	case TypeSignal:
		if n, err := fr.Signal(); err == nil && (n < 1 || n > MaxSignal) {
			t.Fatalf("signal %d", n)
		}
	case TypeWinsize:
		_ = fr.WindowSize()
	}
}

// FuzzSpec decodes specifications. What is accepted is valid, can be sent, and
// arrives unchanged.
func FuzzSpec(f *testing.F) {
	f.Add([]byte(`{"holt":3,"mounts":[{"tag":"root","target":"/"}],"program":{"path":"/bin/true"}}`))
	f.Add([]byte(`{"holt":3,"hostname":"h","clock_ns":1,"mounts":[{"tag":"root","target":"/","overlay":true},{"tag":"dir0","target":"/a","read_only":true}],"program":{"path":"sh","args":["-c","x"],"env":["A=b"],"cwd":"/","user":"0:0","tty":true,"window":{"rows":1,"cols":2},"stdin":true,"rlimits":[{"resource":7,"soft":1,"hard":18446744073709551615}]}}`))
	for _, spec := range []BootSpec{networkBootSpec(), memoryBootSpec()} {
		b, err := json.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeBootSpec(b)
		if err != nil {
			return
		}
		var w bytes.Buffer
		if err := NewWriter(&w).BootSpec(s); err != nil {
			if len(b) < MaxSpec/8 {
				t.Fatal(err)
			}
			return
		}
		fr, err := NewReader(&w, Host).Next()
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeBootSpec(fr.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var w2 bytes.Buffer
		if err := NewWriter(&w2).BootSpec(again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again.Mounts, s.Mounts) || again.Program.Path != s.Program.Path || (again.Network == nil) != (s.Network == nil) {
			t.Fatalf("%+v became %+v", s, again)
		}
		if s.Network != nil {
			checkFuzzedNetwork(t, *s.Network, *again.Network)
		}
	})
}

// checkFuzzedNetwork: nothing of a network that was accepted ends a line or a word
// of the files that the agent writes.
func checkFuzzedNetwork(t *testing.T, s, again Network) {
	if len(again.Addresses) != len(s.Addresses) || !slices.Equal(again.Gateways, s.Gateways) || !slices.Equal(again.Search, s.Search) {
		t.Fatalf("%+v became %+v", s, again)
	}
	words := slices.Clone(s.Search)
	for _, a := range slices.Concat(s.Nameservers, s.Gateways) {
		words = append(words, a.String())
	}
	for _, h := range s.Hosts {
		words = append(append(words, h.Addr.String()), h.Names...)
	}
	for _, w := range words {
		if w == "" || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' || r == ';' || r == '%' }) {
			t.Fatalf("accepted %q", w)
		}
	}
}

// FuzzHeader decodes header lines.
func FuzzHeader(f *testing.F) {
	f.Add([]byte(`{"holt":3,"kernel":"6.1","machine":"x86_64","pid":1}` + "\n"))
	f.Add([]byte(`{"holt":3,"op":"shutdown","grace_ms":1}` + "\n"))
	f.Add([]byte(`{"holt":3,"op":"clock","adjust_ns":-1}` + "\n"))
	f.Add([]byte(`{"holt":9}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = NewReader(bytes.NewReader(b), Agent).Hello()
		q, err := NewReader(bytes.NewReader(b), Host).Request()
		if err == nil && (q.Holt != Version || q.GraceMS < 0 || q.GraceMS > MaxGraceMS || q.AdjustNS < -MaxAdjustNS || q.AdjustNS > MaxAdjustNS) {
			t.Fatalf("accepted %+v", q)
		}
	})
}
