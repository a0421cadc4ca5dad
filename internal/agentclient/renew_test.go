package agentclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

func TestFreeze(t *testing.T) {
	const busy = `{"kind":"busy","message":"a\u001bb"}`
	for _, tt := range []struct {
		name   string
		script []byte
		want   string // part of the error
	}{
		{"answer", frames(agentproto.TypeReport, `{"addr":8192}`, agentproto.TypeOK, ""), ""},
		{"no answer", nil, ErrLost.Error()},
		{"no end", frames(agentproto.TypeReport, `{"addr":8192}`), ErrLost.Error()},
		{"no address", frames(agentproto.TypeOK, ""), "0 answers"},
		{"two addresses", frames(agentproto.TypeReport, `{"addr":4096}`, agentproto.TypeReport, `{"addr":8192}`, agentproto.TypeOK, ""), "2 answers"},
		{"no page", frames(agentproto.TypeReport, `{"addr":8193}`, agentproto.TypeOK, ""), "not a page's"},
		{"a program", frames(agentproto.TypeStarted, started), "out of order"},
		{"refused", frames(agentproto.TypeError, busy), "a?b"},
	} {
		addr, err := Freeze(t.Context(), fakeAgent(t, tt.script, hangUp))
		if tt.want == "" {
			if addr != 8192 || err != nil {
				t.Errorf("%s: %#x, %v", tt.name, addr, err)
			}
		} else if addr != 0 || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %#x, error %v, want %q", tt.name, addr, err, tt.want)
		}
	}
}

// TestFreezeEnds: the connection is closed when the address is known, for that is what
// the agent waits for.
func TestFreezeEnds(t *testing.T) {
	host, guest := net.Pipe()
	end := make(chan error, 1)
	go func() {
		r := agentproto.NewReader(guest, agentproto.Host)
		if q, err := r.Request(); err != nil || q.Op != agentproto.OpFreeze {
			t.Errorf("%+v, %v", q, err)
		}
		_, _ = guest.Write(frames(agentproto.TypeReport, `{"addr":4096}`, agentproto.TypeOK, ""))
		_, err := r.Next()
		end <- err
	}()
	if _, err := Freeze(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if err := <-end; !errors.Is(err, io.EOF) {
		t.Errorf("the agent reads %v", err)
	}
}

// TestRenew: what comes behind the answer is the main program's, though it came with it.
func TestRenew(t *testing.T) {
	host, guest := net.Pipe()
	p := agentproto.Program{Path: "/bin/true"}
	want := agentproto.Renewal{Hostname: "two", Program: &p}
	go func() {
		defer guest.Close()
		r := agentproto.NewReader(guest, agentproto.Host)
		q, err := r.Request()
		if err != nil || q.Op != agentproto.OpRenew {
			t.Errorf("%+v, %v", q, err)
		}
		f, err := r.Next()
		if err != nil || f.Type != agentproto.TypeSpec {
			t.Errorf("frame of type %d, %v", f.Type, err)
		}
		if got, err := agentproto.DecodeRenewal(f.Payload); err != nil || got.Hostname != want.Hostname || got.Program.Path != p.Path {
			t.Errorf("%+v, %v", got, err)
		}
		_, _ = guest.Write(frames(agentproto.TypeOK, "", agentproto.TypeStarted, started, agentproto.TypeExit, exit0))
	}()
	in, err := Renew(t.Context(), host, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []agentproto.Type{agentproto.TypeStarted, agentproto.TypeExit} {
		if f, err := in.Next(); err != nil || f.Type != want {
			t.Errorf("frame of type %d, %v; want %d", f.Type, err, want)
		}
	}
	if _, err := in.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
}

func TestRenewRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script []byte
		want   string
	}{
		{"broken", nil, ErrLost.Error()},
		{"not renewed", frames(agentproto.TypeError, `{"kind":"internal","message":"no network\u0007"}`), "no network?"},
		{"no answer first", frames(agentproto.TypeStarted, started), "out of order"},
	} {
		in, err := Renew(t.Context(), fakeAgent(t, tt.script, hangUp), agentproto.Renewal{})
		if in != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := Renew(t.Context(), fakeAgent(t, nil, nil), agentproto.Renewal{Seed: make([]byte, 3)}); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("a seed of three bytes: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := Renew(ctx, fakeAgent(t, nil, nil), agentproto.Renewal{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an agent that does not answer: %v", err)
	}
}

func TestAwaitHeld(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script []byte
		want   string
	}{
		{"ready", frames(agentproto.TypeOK, ""), ""},
		{"broken", nil, ErrLost.Error()},
		{"no root", frames(agentproto.TypeError, `{"kind":"mount","message":"no root"}`), "no root"},
		{"a program", frames(agentproto.TypeStarted, started), "out of order"},
	} {
		in := agentproto.NewReader(bytes.NewReader(tt.script), agentproto.Agent)
		err := AwaitHeld(t.Context(), in)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		host, guest := net.Pipe()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := AwaitHeld(ctx, agentproto.NewReader(host, agentproto.Agent)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an agent that does not answer: %v", err)
		}
		guest.Close()
	})
}
