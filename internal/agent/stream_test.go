package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// exec starts spec through the agent's own operation handling.
func exec(t *testing.T, spec agentproto.Program, out agentclient.Output) (*agentclient.Session, error) {
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return agentclient.Exec(ctx, host, spec, out)
}

func mustExec(t *testing.T, spec agentproto.Program, out agentclient.Output) *agentclient.Session {
	t.Helper()
	s, err := exec(t, spec, out)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wait waits for the session's end, not for ever.
func wait(t *testing.T, s *agentclient.Session) agentproto.Exit {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the session does not end")
	}
	exit, err := s.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func sh(script string) agentproto.Program {
	return agentproto.Program{Path: "/bin/sh", Args: []string{"-c", script}}
}

func TestExecStreamsAreApart(t *testing.T) {
	var out, errs bytes.Buffer
	s := mustExec(t, sh("echo out; echo err >&2; exit 5"), agentclient.Output{Stdout: &out, Stderr: &errs})
	if exit := wait(t, s); exit.Code != 5 || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("%+v %q %q", exit, &out, &errs)
	}
}

// TestCat sends 100 MB through a program and back.
func TestCat(t *testing.T) {
	const size = 100 << 20
	got := sha256.New()
	spec := agentproto.Program{Path: "cat", Stdin: true}
	s := mustExec(t, spec, agentclient.Output{Stdout: got})
	sent := sha256.New()
	begin := time.Now()
	n, err := io.Copy(s.Stdin(), io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), sent))
	if err != nil || n != size {
		t.Fatal(n, err)
	}
	if err := s.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, s); exit != (agentproto.Exit{}) {
		t.Errorf("exit %+v", exit)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Error("what came back differs")
	}
	t.Logf("%.0f MB/s", size/time.Since(begin).Seconds()/1e6)
}

// gate is a writer that does not return until it is opened.
type gate struct {
	open chan struct{}
	sum  hash.Hash
	n    atomic.Int64
}

func (g *gate) Write(b []byte) (int, error) {
	g.n.Add(int64(len(b)))
	<-g.open
	return g.sum.Write(b)
}

// TestSlowReader: a reader that stops blocks the program, and what is in
// between stays small; nothing is lost when it goes on.
func TestSlowReader(t *testing.T) {
	const size = 64 << 20
	g := &gate{open: make(chan struct{}), sum: sha256.New()}
	spec := sh(fmt.Sprintf("head -c %d /dev/zero; echo $? >&2", size))
	var errs bytes.Buffer
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := mustExec(t, spec, agentclient.Output{Stdout: g, Stderr: &errs})
	time.Sleep(500 * time.Millisecond)
	select {
	case <-s.Done():
		t.Fatal("the program ended though nobody read")
	default:
	}
	if n := g.n.Load(); n > agentproto.MaxPayload {
		t.Errorf("%d bytes were delivered to a blocked writer", n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("both ends hold %d bytes", grown)
	}
	close(g.open)
	if exit := wait(t, s); exit.Code != 0 || errs.String() != "0\n" {
		t.Errorf("%+v %q", exit, &errs)
	}
	want := sha256.New()
	_, _ = io.CopyN(want, zeros{}, size)
	if !bytes.Equal(want.Sum(nil), g.sum.Sum(nil)) {
		t.Errorf("output differs after %d bytes", g.n.Load())
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestSignalPassesInput: a program that never reads its input gets signals
// although the input is stuck.
func TestSignalPassesInput(t *testing.T) {
	var out syncBuffer
	spec := sh(`trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 0.01; done`)
	spec.Stdin = true
	s := mustExec(t, spec, agentclient.Output{Stdout: &out})
	wrote := make(chan error, 1)
	go func() { _, err := io.Copy(s.Stdin(), zeros{}); wrote <- err }()
	out.await(t, "ready")
	select {
	case err := <-wrote:
		t.Fatalf("endless input was taken: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := s.Signal(int(syscall.SIGUSR1)); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, s); exit.Code != 3 || !strings.Contains(out.String(), "got") {
		t.Errorf("%+v %q", exit, out.String())
	}
	if err := <-wrote; err == nil {
		t.Error("the blocked write succeeded")
	}
}

// TestClosedStdin: a program that closes its input ends the host's writing,
// not itself.
func TestClosedStdin(t *testing.T) {
	spec := sh("exec <&-; sleep 0.3; echo done")
	spec.Stdin = true
	var out syncBuffer
	s := mustExec(t, spec, agentclient.Output{Stdout: &out})
	if _, err := io.Copy(s.Stdin(), zeros{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
	if exit := wait(t, s); exit.Code != 0 || out.String() != "done\n" {
		t.Errorf("%+v %q", exit, out.String())
	}
}

func TestExecTerminal(t *testing.T) {
	var out syncBuffer
	spec := sh(`stty size; trap 'stty size' WINCH; echo ready; read line; echo "[$line]"; while :; do sleep 0.01; done`)
	spec.TTY, spec.Stdin, spec.Window = true, true, agentproto.WindowSize{Rows: 20, Cols: 60}
	s := mustExec(t, spec, agentclient.Output{Stdout: &out})
	out.await(t, "20 60\r\nready")
	if _, err := s.Stdin().Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	out.await(t, "hello\r\n[hello]") // first the terminal's echo
	if err := s.Resize(50, 132); err != nil {
		t.Fatal(err)
	}
	out.await(t, "50 132")
	if _, err := s.Stdin().Write([]byte{3}); err != nil { // ctrl-C
		t.Fatal(err)
	}
	if exit := wait(t, s); exit.Signal != 2 {
		t.Errorf("exit %+v", exit)
	}
}

func TestExecTerminalEOF(t *testing.T) {
	var out syncBuffer
	spec := agentproto.Program{Path: "cat", TTY: true, Stdin: true}
	s := mustExec(t, spec, agentclient.Output{Stdout: &out})
	if _, err := s.Stdin().Write([]byte("no newline")); err != nil {
		t.Fatal(err)
	}
	if err := s.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, s); exit.Code != 0 || strings.Count(out.String(), "no newline") != 2 {
		t.Errorf("%+v %q", exit, out.String())
	}
}

func TestExecExits(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   agentproto.Exit
	}{{"exit 0", agentproto.Exit{}}, {"exit 200", agentproto.Exit{Code: 200}}, {"kill -KILL $$", agentproto.Exit{Signal: 9}}} {
		if got := wait(t, mustExec(t, sh(tt.script), agentclient.Output{})); got != tt.want {
			t.Errorf("%s: %+v", tt.script, got)
		}
	}
	_, err := exec(t, agentproto.Program{Path: "/no/such"}, agentclient.Output{})
	var e *agentproto.Error
	if !errors.As(err, &e) || e.Status() != 127 {
		t.Errorf("error %v", err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = exec(t, agentproto.Program{Path: plain}, agentclient.Output{})
	if !errors.As(err, &e) || e.Status() != 126 {
		t.Errorf("error %v", err)
	}
}

// TestBackgroundHolder: a process that was left behind with the output open
// neither delays the end nor cuts what the program wrote.
func TestBackgroundHolder(t *testing.T) {
	for _, background := range []string{"sleep 1000", "yes"} {
		var out bytes.Buffer
		s := mustExec(t, sh("head -c 50000 /dev/zero; "+background+" & echo $! >&2"), agentclient.Output{Stdout: &out, Stderr: io.Discard})
		begin := time.Now()
		wait(t, s)
		if d := time.Since(begin); d > 10*time.Second || out.Len() < 50000 {
			t.Errorf("%s: ended after %v with %d bytes", background, d, out.Len())
		}
		_ = unix.Kill(-s.PID, unix.SIGKILL) // the group outlives its leader
	}
}

// TestHostGone: when the host goes, the program and its group are killed.
func TestHostGone(t *testing.T) {
	var out syncBuffer
	s := mustExec(t, sh("sleep 1000 & echo $!; wait"), agentclient.Output{Stdout: &out})
	out.await(t, "\n")
	var child int
	if _, err := fmt.Sscan(out.String(), &child); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the program's child lives on")
		}
	}
	if _, err := s.Wait(); !errors.Is(err, agentclient.ErrLost) {
		t.Errorf("error %v", err)
	}
}

// alive reports whether a process runs; one that nobody has reaped does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// TestViolations: a host that breaks the protocol is told so and the program
// is killed.
func TestViolations(t *testing.T) {
	big := make([]byte, agentproto.MaxPayload)
	tests := []struct {
		name  string
		stdin bool
		send  func(w *agentproto.Writer)
		want  string
	}{
		{"input that was not granted", false, func(w *agentproto.Writer) { _ = w.Frame(agentproto.TypeStdin, big) }, "after its end"},
		{"more input than granted", true, func(w *agentproto.Writer) {
			for range 8 {
				_ = w.Frame(agentproto.TypeStdin, big)
			}
		}, "were granted"},
		{"input after its end", true, func(w *agentproto.Writer) {
			_ = w.Frame(agentproto.TypeStdinEOF, nil)
			_ = w.Frame(agentproto.TypeStdin, big)
		}, "after its end"},
		{"signal 65", true, func(w *agentproto.Writer) { _ = w.Signal(65) }, "signal 65"},
		{"second specification", true, func(w *agentproto.Writer) { _ = w.Frame(agentproto.TypeSpec, []byte("{}")) }, "specification"},
		{"unknown frame", true, func(w *agentproto.Writer) { _ = w.Frame(77, nil) }, "type 77"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			host, guest := connect(t)
			go newAgent(reaper).operation(guest)
			w, r := agentproto.NewWriter(host), agentproto.NewReader(host, agentproto.Agent)
			spec := sh("exec sleep 1000")
			spec.Stdin = tt.stdin
			if err := w.Ask(agentproto.Request{Op: agentproto.OpExec}, spec); err != nil {
				t.Fatal(err)
			}
			f, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			started, err := agentproto.DecodeStarted(f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			go tt.send(w)
			for f.Type != agentproto.TypeError {
				if f, err = r.Next(); err != nil {
					t.Fatal(err)
				}
			}
			e, err := agentproto.DecodeError(f.Payload)
			if err != nil || e.Kind != agentproto.KindProtocol || !strings.Contains(e.Message, tt.want) {
				t.Errorf("%+v, %v; want %q", e, err, tt.want)
			}
			for deadline := time.Now().Add(10 * time.Second); alive(started.PID); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the program lives on")
				}
			}
		})
	}
}

func TestPingAndRefusals(t *testing.T) {
	ask := func(a *agent, line string) (agentproto.Type, *agentproto.Error) {
		host, guest := connect(t)
		go a.operation(guest)
		if _, err := io.WriteString(host, line); err != nil {
			t.Fatal(err)
		}
		f, err := agentproto.NewReader(host, agentproto.Agent).Next()
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		if f.Type != agentproto.TypeError {
			return f.Type, nil
		}
		e, err := agentproto.DecodeError(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		return f.Type, e
	}
	a := newAgent(reaper)
	if typ, e := ask(a, `{"holt":3,"op":"ping"}`+"\n"); typ != agentproto.TypeOK {
		t.Errorf("ping: %v", e)
	}
	if _, e := ask(a, `{"holt":9,"op":"ping"}`+"\n"); e == nil || e.Kind != agentproto.KindVersion {
		t.Errorf("other version: %v", e)
	}
	if _, e := ask(a, `{"holt":3,"op":"format"}`+"\n"); e == nil || e.Kind != agentproto.KindProtocol {
		t.Errorf("unknown operation: %v", e)
	}
	a.stopping.Store(true)
	host, guest := connect(t)
	go a.operation(guest)
	_, err := agentclient.Exec(context.Background(), host, sh("true"), agentclient.Output{})
	var e *agentproto.Error
	if !errors.As(err, &e) || e.Kind != agentproto.KindBusy {
		t.Errorf("exec while stopping: %v", err)
	}
}

// TestMainProgram runs the main program as at boot: what happens at its end is
// in order.
func TestMainProgram(t *testing.T) {
	host, guest := connect(t)
	ch := newChannel(guest)
	a := newAgent(reaper)
	result := make(chan error, 1)
	go func() {
		if err := ch.out.Hello(a.hello()); err != nil {
			result <- err
			return
		}
		b, err := ch.specification()
		if err != nil {
			result <- err
			return
		}
		spec, err := agentproto.DecodeBootSpec(b)
		if err != nil {
			result <- err
			return
		}
		result <- a.runMain(ch, spec)
	}()
	var out bytes.Buffer
	s, err := agentclient.Boot(context.Background(), host, agentproto.BootSpec{
		Mounts: []agentproto.Mount{{Tag: "root", Target: "/"}}, Program: sh("echo main; exit 9"),
	}, agentclient.Output{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, s); exit.Code != 9 || out.String() != "main\n" || s.Hello.Kernel == "" || s.ID != agentproto.MainSession {
		t.Errorf("%+v %q %+v", exit, &out, s.Hello)
	}
	if err := <-result; err != nil || !a.stopping.Load() {
		t.Errorf("%v, stopping %v", err, a.stopping.Load())
	}
}
