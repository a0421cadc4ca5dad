package agentclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/holtvm/holt/internal/agentproto"
)

const running = `{"pid":2,"session":"3"}`

func TestDetached(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script []byte
		want   string // part of the error
	}{
		{"runs", frames(agentproto.TypeStarted, running, agentproto.TypeOK, ""), ""},
		{"does not start", frames(agentproto.TypeError, `{"kind":"not_found","message":"no such thing"}`), "no such thing"},
		{"no answer", frames(agentproto.TypeStarted, running), ErrLost.Error()},
		{"exit", frames(agentproto.TypeStarted, running, agentproto.TypeExit, exit0), "out of order"},
		{"no id", frames(agentproto.TypeStarted, `{"pid":2,"session":"../3"}`, agentproto.TypeOK, ""), "violation"},
	} {
		id, pid, err := Detached(t.Context(), fakeAgent(t, tt.script, hangUp), spec.Program)
		if tt.want == "" {
			if err != nil || id != "3" || pid != 2 {
				t.Errorf("%s: %q, %d, %v", tt.name, id, pid, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), tt.want) || id != "" {
			t.Errorf("%s: %q, %v", tt.name, id, err)
		}
	}
}

// agentOf answers a session's frames.
type agentOf struct {
	t *testing.T
	w *agentproto.Writer
	r *agentproto.Reader
}

// begin lets an agent hear a request out and start a session.
func begin(t *testing.T, guest net.Conn) agentOf {
	t.Helper()
	a := agentOf{t, agentproto.NewWriter(guest), agentproto.NewReader(guest, agentproto.Host)}
	if _, err := a.r.Request(); err != nil {
		t.Error(err)
	}
	a.expect(agentproto.TypeSpec)
	if err := a.w.Started(agentproto.Started{PID: 2, Session: "3"}); err != nil {
		t.Error(err)
	}
	return a
}

func (a agentOf) expect(want agentproto.Type) {
	a.t.Helper()
	if f, err := a.r.Next(); err != nil || f.Type != want {
		a.t.Errorf("frame of type %d, %v; want %d", f.Type, err, want)
	}
}

// TestDetach: what arrives before the answer is written, and a program that ended
// meanwhile has ended.
func TestDetach(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(agentOf) error
		detach error
		wait   error
	}{
		"detached": {func(a agentOf) error { return a.w.Frame(agentproto.TypeOK, nil) }, nil, ErrDetached},
		"ended":    {func(a agentOf) error { return a.w.Exit(agentproto.Exit{Code: 5}) }, nil, nil},
		"lost":     {func(agentOf) error { return nil }, ErrLost, ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			host, guest := net.Pipe()
			go func() {
				defer guest.Close()
				a := begin(t, guest)
				a.expect(agentproto.TypeDetach)
				if err := errors.Join(a.w.Frame(agentproto.TypeStdout, []byte("late")), tt.answer(a)); err != nil {
					t.Error(err)
				}
			}()
			var out bytes.Buffer
			s, err := AttachSession(t.Context(), host, "3", Output{Stdout: &out}, true)
			if err != nil {
				t.Fatal(err)
			}
			blocked := make(chan error)
			go func() { _, err := io.WriteString(s.Stdin(), "no credit"); blocked <- err }()
			if err := s.Detach(); !errors.Is(err, tt.detach) {
				t.Errorf("detach: %v", err)
			}
			if _, err := s.Wait(); !errors.Is(err, tt.wait) {
				t.Errorf("wait: %v", err)
			}
			if err := <-blocked; !errors.Is(err, io.ErrClosedPipe) || out.String() != "late" {
				t.Errorf("write: %v; output %q", err, &out)
			}
			if err := s.Detach(); !errors.Is(err, tt.detach) {
				t.Errorf("detach again: %v", err)
			}
		})
	}
}

// TestDetachIsBounded: an agent that does not answer is not waited for.
func TestDetachIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := net.Pipe()
		defer guest.Close()
		go func() {
			begin(t, guest).expect(agentproto.TypeDetach)
		}()
		s, err := AttachSession(context.Background(), host, "3", Output{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Detach(); !errors.Is(err, ErrLost) {
			t.Errorf("detach: %v", err)
		}
	})
}

func TestAttachSessionRefused(t *testing.T) {
	busy := frames(agentproto.TypeError, `{"kind":"busy","message":"somebody else"}`)
	_, err := AttachSession(t.Context(), fakeAgent(t, busy, hangUp), "3", Output{}, false)
	if e, ok := errors.AsType[*agentproto.Error](err); !ok || e.Kind != agentproto.KindBusy {
		t.Errorf("error %v", err)
	}
	for _, id := range []string{"", "main", "x\x1b"} {
		if _, err := AttachSession(t.Context(), fakeAgent(t, nil, nil), id, Output{}, false); err == nil || errors.Is(err, ErrLost) {
			t.Errorf("session %q: %v", id, err)
		}
	}
}

func TestInspect(t *testing.T) {
	ctx := t.Context()
	report := func(parts ...string) net.Conn {
		var all []any
		for _, p := range parts {
			all = append(all, agentproto.TypeReport, p)
		}
		return fakeAgent(t, frames(append(all, agentproto.TypeOK, "")...), hangUp)
	}
	sessions, err := Sessions(ctx, report(`{"id":"3","pid":2,"argv":["a\nb","\u001b[2J"],"user":"\u0007","running":true}`, `{"id":"4","pid":3,"exit":{"code":1}}`))
	if err != nil || len(sessions) != 2 || sessions[0].Argv[0] != "a b" || sessions[0].Argv[1] != "?[2J" || sessions[0].User != "?" || sessions[1].Exit.Code != 1 {
		t.Errorf("%+v, %v", sessions, err)
	}
	list, err := Processes(ctx, report(`{"pid":7,"user":"r\u001b","state":"\u0000","command":"x\ty"}`))
	if err != nil || len(list) != 1 || list[0] != (agentproto.ProcessInfo{PID: 7, User: "r?", State: "?", Command: "x y"}) {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = Processes(ctx, report()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	stats, err := Stats(ctx, report(`{"mem_total":5}`))
	if err != nil || stats.MemTotal != 5 {
		t.Errorf("%+v, %v", stats, err)
	}
	for name, conn := range map[string]net.Conn{
		"two states":       report(`{}`, `{}`),
		"no state":         report(),
		"negative":         report(`{"mem_total":-5}`),
		"output":           fakeAgent(t, frames(agentproto.TypeStdout, "x"), hangUp),
		"cut off":          fakeAgent(t, frames(agentproto.TypeReport, `{}`), hangUp),
		"report of a ping": nil,
	} {
		if conn == nil {
			err = Ping(ctx, report(`{}`))
		} else {
			_, err = Stats(ctx, conn)
		}
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	err = SignalSession(ctx, fakeAgent(t, frames(agentproto.TypeError, `{"kind":"not_found","message":"none"}`), hangUp),
		agentproto.SessionSignal{Session: "9", Signal: 15})
	if e, ok := errors.AsType[*agentproto.Error](err); !ok || e.Kind != agentproto.KindNotFound {
		t.Errorf("signal: %v", err)
	}
}

// TestEndlessList: a guest cannot fill the host's memory with a list.
func TestEndlessList(t *testing.T) {
	for name, item := range map[string]string{
		"small": `{"pid":1}`,
		"large": fmt.Sprintf(`{"pid":1,"command":%q}`, strings.Repeat("x", 60_000)),
	} {
		host, guest := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, guest) }()
		go func() {
			defer guest.Close()
			chunk := bytes.Repeat(frames(agentproto.TypeReport, item), 50)
			for {
				if _, err := guest.Write(chunk); err != nil {
					return
				}
			}
		}()
		if _, err := Processes(t.Context(), host); err == nil || !strings.Contains(err.Error(), "without end") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
