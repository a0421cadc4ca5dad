package holt

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

func TestSessions(t *testing.T) {
	g := newFakeGuest(t)
	list, err := g.vm.Sessions(t.Context())
	killed := 137
	want := []Session{
		{ID: "1", PID: 70, Command: []string{"ma?ke"}, Terminal: true, Running: true, Started: time.Unix(0, 5).UTC()},
		{ID: "2", PID: 71, Command: []string{"sh"}, Started: time.Unix(0, 0).UTC(), ExitStatus: &killed, Error: "signal: killed (the guest ran out of memory)"},
	}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%+v, %v; want %+v", list, err, want)
	}
}

func TestProcesses(t *testing.T) {
	g := newFakeGuest(t)
	list, err := g.vm.Processes(t.Context())
	want := []ProcessInfo{{
		PID: 9, ParentPID: 1, User: "root", State: "S", CPUTime: 1500 * time.Millisecond, Memory: 4096, Started: time.Unix(0, 7).UTC(), Command: "sh",
	}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%+v, %v; want %+v", list, err, want)
	}
}

func TestPing(t *testing.T) {
	g := newFakeGuest(t)
	if err := g.vm.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	idle := keptVM(t, "")
	state, ok := errors.AsType[*StateError](idle.Ping(t.Context()))
	if !ok || state.State != StateCreated || !errors.Is(state, ErrNotRunning) {
		t.Errorf("of a VM that does not run: %v", state)
	}
}

func TestSignalSession(t *testing.T) {
	g := newFakeGuest(t)
	if err := g.vm.SignalSession(t.Context(), MainSession, syscall.SIGHUP, true); err != nil {
		t.Error(err)
	}
	if s := <-g.signals; s != (agentproto.SessionSignal{Session: "main", Signal: 1, Group: true}) {
		t.Errorf("%+v", s)
	}
	if err := g.vm.SignalSession(t.Context(), "77", syscall.SIGHUP, false); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no session 77") {
		t.Error(err)
	}
	if err := g.vm.SignalSession(t.Context(), "x", syscall.SIGHUP, false); err == nil || errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestDetach: the program goes on, and is reached by its session.
func TestDetach(t *testing.T) {
	g := newFakeGuest(t)
	c := g.vm.Exec(t.Context(), Command{Path: "cat", OpenStdin: true})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Detach(); err != nil {
		t.Error(err)
	}
	<-g.detached
	if err := c.Wait(); !errors.Is(err, ErrDetached) {
		t.Errorf("Wait: %v", err)
	}
	if err := c.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if s := <-g.signals; s.Session != "3" || s.Signal != 15 || s.Group {
		t.Errorf("%+v", s)
	}
	if err := c.Resize(WindowSize{}); !errors.Is(err, ErrDetached) {
		t.Errorf("Resize: %v", err)
	}
	if err := c.Detach(); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestDetachedFromTheStart(t *testing.T) {
	g := newFakeGuest(t)
	c := g.vm.Exec(t.Context(), Command{Path: "cat", Detached: true})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if c.Session() != "3" || c.PID() != 57 || !errors.Is(c.Wait(), ErrDetached) {
		t.Errorf("session %q, pid %d", c.Session(), c.PID())
	}
	if err := g.vm.Exec(t.Context(), Command{Path: "missing", Detached: true}).Start(); !errors.Is(err, ErrProgramNotFound) {
		t.Error(err)
	}
}

func TestAttachSession(t *testing.T) {
	g := newFakeGuest(t)
	c := g.vm.AttachSession(t.Context(), "12")
	c.Terminal = &WindowSize{5, 6}
	in, _ := c.StdinPipe()
	out, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "hi"); err != nil {
		t.Error(err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(out); string(b) != "5x6\nhi" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := c.Wait(); err != nil || c.Session() != "12" {
		t.Errorf("%v, session %q", err, c.Session())
	}
	if err := g.vm.AttachSession(t.Context(), "77").Start(); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrProgramNotFound) {
		t.Error(err)
	}
	if err := g.vm.AttachSession(t.Context(), MainSession).Start(); err == nil {
		t.Error("the main program is no session to attach to")
	}
}
