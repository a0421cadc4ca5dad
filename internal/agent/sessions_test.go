package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agent/program"
	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// guest is an agent that serves operations, and the context of a test's calls.
type guest struct {
	t   *testing.T
	a   *agent
	ctx context.Context
}

func newGuest(t *testing.T) *guest {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return &guest{t, newAgent(reaper), ctx}
}

// dial returns a connection on which the agent serves an operation.
func (g *guest) dial() net.Conn {
	host, conn := connect(g.t)
	go g.a.operation(conn)
	return host
}

func (g *guest) exec(spec agentproto.Program, out agentclient.Output) *agentclient.Session {
	g.t.Helper()
	s, err := agentclient.Exec(g.ctx, g.dial(), spec, out)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *guest) detached(spec agentproto.Program) (id string, pid int) {
	g.t.Helper()
	id, pid, err := agentclient.Detached(g.ctx, g.dial(), spec)
	if err != nil {
		g.t.Fatal(err)
	}
	return id, pid
}

func (g *guest) attach(id string, out agentclient.Output, stdin bool) *agentclient.Session {
	g.t.Helper()
	s, err := agentclient.AttachSession(g.ctx, g.dial(), id, out, stdin)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *guest) sessions() []agentproto.Session {
	g.t.Helper()
	list, err := agentclient.Sessions(g.ctx, g.dial())
	if err != nil {
		g.t.Fatal(err)
	}
	return list
}

// awaitSessions waits until the list is as ok wants it.
func (g *guest) awaitSessions(ok func([]agentproto.Session) bool) {
	g.t.Helper()
	for !ok(g.sessions()) {
		if g.ctx.Err() != nil {
			g.t.Fatalf("the sessions are %+v", g.sessions())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func kind(err error) agentproto.ErrorKind {
	if e, ok := errors.AsType[*agentproto.Error](err); ok {
		return e.Kind
	}
	return ""
}

// TestDetach: a program goes on when its host leaves, and whoever attaches reads what
// was missed and then what comes.
func TestDetach(t *testing.T) {
	g := newGuest(t)
	var before, after syncBuffer
	spec := agentproto.Program{Path: "cat", Stdin: true}
	s := g.exec(spec, agentclient.Output{Stdout: &before})
	if _, err := io.WriteString(s.Stdin(), "one\n"); err != nil {
		t.Fatal(err)
	}
	before.await(t, "one\n")
	if err := s.Detach(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(); !errors.Is(err, agentclient.ErrDetached) {
		t.Errorf("wait: %v", err)
	}
	if _, err := io.WriteString(s.Stdin(), "lost\n"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after detach: %v", err)
	}
	list := g.sessions()
	if len(list) != 1 || list[0].ID != s.ID || list[0].PID != s.PID || list[0].Attached || !list[0].Running || list[0].Argv[0] != "cat" {
		t.Fatalf("sessions %+v", list)
	}

	again := g.attach(s.ID, agentclient.Output{Stdout: &after}, true)
	if again.PID != s.PID || again.ID != s.ID {
		t.Errorf("attached to %s, process %d", again.ID, again.PID)
	}
	_, err := agentclient.AttachSession(g.ctx, g.dial(), s.ID, agentclient.Output{}, false)
	if kind(err) != agentproto.KindBusy {
		t.Errorf("second connection: %v", err)
	}
	if _, err := io.WriteString(again.Stdin(), "two\n"); err != nil {
		t.Fatal(err)
	}
	if err := again.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, again); exit != (agentproto.Exit{}) || after.String() != "two\n" {
		t.Errorf("%+v, %q", exit, after.String())
	}
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 0 })
}

// TestDetachedExit: what a detached program printed and how it ended waits for one
// reader, and for one only.
func TestDetachedExit(t *testing.T) {
	g := newGuest(t)
	id, pid := g.detached(sh("echo out; echo err >&2; exit 7"))
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 1 && !list[0].Running })
	if s := g.sessions()[0]; s.ID != id || s.PID != pid || *s.Exit != (agentproto.Exit{Code: 7}) || s.StartedNS == 0 {
		t.Errorf("session %+v", s)
	}
	conn := g.dial()
	if err := agentproto.NewWriter(conn).Ask(agentproto.Request{Op: agentproto.OpAttach}, agentproto.Attach{Session: "4711"}); err != nil {
		t.Fatal(err)
	}
	if f, err := agentproto.NewReader(conn, agentproto.Agent).Next(); err != nil || f.Type != agentproto.TypeError {
		t.Errorf("attach to no session: %v, %v", f.Type, err)
	}
	var out, errs syncBuffer
	s := g.attach(id, agentclient.Output{Stdout: &out, Stderr: &errs}, true)
	if exit := wait(t, s); exit.Code != 7 || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("%+v, %q, %q", exit, out.String(), errs.String())
	}
	if _, err := s.Stdin().Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 0 })
	_, err := agentclient.AttachSession(g.ctx, g.dial(), id, agentclient.Output{}, false)
	if kind(err) != agentproto.KindNotFound {
		t.Errorf("second reader: %v", err)
	}
}

// TestDetachedOutputIsBounded: a detached program never blocks, and its last output is
// kept.
func TestDetachedOutputIsBounded(t *testing.T) {
	g := newGuest(t)
	id, _ := g.detached(sh("yes | head -c 5000000; echo the end"))
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 1 && !list[0].Running })

	// A host that goes before it could be sent everything leaves it to the next.
	host, conn := connect(t)
	if err := agentproto.NewWriter(host).Ask(agentproto.Request{Op: agentproto.OpAttach}, agentproto.Attach{Session: id}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(int(conn.Fd()), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(conn.Fd()), true); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { g.a.operation(conn); close(served) }()
	if f, err := agentproto.NewReader(host, agentproto.Agent).Next(); err != nil || f.Type != agentproto.TypeStarted {
		t.Fatalf("%v, %v", f.Type, err)
	}
	host.Close()
	<-served

	var out syncBuffer
	wait(t, g.attach(id, agentclient.Output{Stdout: &out}, false))
	if n := len(out.String()); n < backlogSize/2 || n > backlogSize || !strings.HasSuffix(out.String(), "y\nthe end\n") {
		t.Errorf("%d bytes were kept", n)
	}
}

// TestAttachedHostGone: a program that was detached once does not depend on a host.
func TestAttachedHostGone(t *testing.T) {
	g := newGuest(t)
	spec := agentproto.Program{Path: "cat", Stdin: true}
	id, pid := g.detached(spec)
	for range 3 {
		s := g.attach(id, agentclient.Output{}, true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 1 && !list[0].Attached })
	}
	if !alive(pid) {
		t.Error("the program died")
	}
	s := g.attach(id, agentclient.Output{}, false)
	if err := agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: id, Signal: 15}); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, s); exit.Signal != 15 {
		t.Errorf("exit %+v", exit)
	}
}

// TestInputAcrossConnections: what one host wrote is followed by what the next one
// writes, and no host is granted more than there is room for.
func TestInputAcrossConnections(t *testing.T) {
	g := newGuest(t)
	name := t.TempDir() + "/got"
	spec := sh("sleep 0.2; cat >" + name) // the pipe and the agent's buffer fill up first
	spec.Stdin = true
	id, _ := g.detached(spec)
	rnd := rand.New(rand.NewPCG(1, 2))
	var sent bytes.Buffer
	for range 10 {
		s := g.attach(id, agentclient.Output{}, true)
		data := make([]byte, rnd.IntN(100<<10))
		for i := range data {
			data[i] = byte(rnd.Int())
		}
		sent.Write(data)
		if _, err := s.Stdin().Write(data); err != nil {
			t.Fatal(err)
		}
		if err := s.Detach(); err != nil {
			t.Fatal(err)
		}
	}
	s := g.attach(id, agentclient.Output{}, true)
	if err := s.Stdin().Close(); err != nil {
		t.Fatal(err)
	}
	wait(t, s)
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Errorf("%d bytes sent, %d received, or they differ; %v", sent.Len(), len(got), err)
	}
}

// TestDetachWhileOutputIsStuck: the host detaches without having read, and then reads
// to the answer.
func TestDetachWhileOutputIsStuck(t *testing.T) {
	g := newGuest(t)
	conn := g.dial()
	w, r := agentproto.NewWriter(conn), agentproto.NewReader(conn, agentproto.Agent)
	if err := w.Ask(agentproto.Request{Op: agentproto.OpExec}, sh("exec yes")); err != nil {
		t.Fatal(err)
	}
	if err := w.Frame(agentproto.TypeDetach, nil); err != nil {
		t.Fatal(err)
	}
	last := agentproto.Type(0)
	for last != agentproto.TypeOK {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if last = f.Type; last == agentproto.TypeExit || last == agentproto.TypeError {
			t.Fatalf("frame of type %d: %s", last, f.Payload)
		}
	}
	g.awaitSessions(func(list []agentproto.Session) bool { return list[0].Running && !list[0].Attached })
	if err := agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: "1", Signal: 9}); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, g.attach("1", agentclient.Output{}, false)); exit != (agentproto.Exit{Signal: 9}) {
		t.Errorf("exit %+v", exit)
	}
}

func TestEndedSessionsAreBounded(t *testing.T) {
	g := newGuest(t)
	first, _ := g.detached(sh("exit 0"))
	g.awaitSessions(func(list []agentproto.Session) bool { return !list[0].Running })
	var wg sync.WaitGroup
	for range maxEnded {
		wg.Go(func() { g.detached(sh("exit 0")) })
	}
	wg.Wait()
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == maxEnded && !list[maxEnded-1].Running })
	for _, s := range g.sessions() {
		if s.ID == first {
			t.Error("the oldest is kept")
		}
	}
}

func TestSignalSession(t *testing.T) {
	g := newGuest(t)
	signal := func(id string, n int, group bool) error {
		return agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: id, Signal: n, Group: group})
	}
	var out syncBuffer
	s := g.exec(sh("trap 'echo got' USR1; sleep 1000 & echo $!; while :; do wait; done"), agentclient.Output{Stdout: &out})
	out.await(t, "\n")
	var child int
	if _, err := fmt.Sscan(out.String(), &child); err != nil {
		t.Fatal(err)
	}
	if err := signal(s.ID, int(unix.SIGUSR1), false); err != nil {
		t.Fatal(err)
	}
	out.await(t, "got")
	if !alive(child) {
		t.Error("the signal reached the program's child")
	}
	if err := signal(s.ID, 9, true); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, s); exit != (agentproto.Exit{Signal: 9}) {
		t.Errorf("exit %+v", exit)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(child); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the program's child lives on")
		}
	}
	for _, id := range []string{s.ID, "77", agentproto.MainSession} {
		if err := signal(id, 15, false); kind(err) != agentproto.KindNotFound {
			t.Errorf("signal to %s: %v", id, err)
		}
	}
	if err := signal("../1", 15, false); err == nil || kind(err) != "" {
		t.Errorf("signal to what is no id: %v", err)
	}
}

// TestTimeout: the program and its group are killed, with a connection and without.
func TestTimeout(t *testing.T) {
	g := newGuest(t)
	spec := sh("sleep 1000 & sleep 1000")
	spec.TimeoutMS = 50
	id, _ := g.detached(spec)
	want := agentproto.Exit{Signal: 9, Timeout: true}
	if exit := wait(t, g.exec(spec, agentclient.Output{})); exit != want {
		t.Errorf("exit %+v", exit)
	}
	if exit := wait(t, g.attach(id, agentclient.Output{}, false)); exit != want {
		t.Errorf("detached: exit %+v", exit)
	}
	spec = sh("exit 4")
	spec.TimeoutMS = 50_000
	if exit := wait(t, g.exec(spec, agentclient.Output{})); exit != (agentproto.Exit{Code: 4}) {
		t.Errorf("in time: exit %+v", exit)
	}
}

// TestManyAtOnce: what one program does is not another's to wait for.
func TestManyAtOnce(t *testing.T) {
	const many = 200
	g := newGuest(t)
	var all [many]*agentclient.Session
	var out [many]syncBuffer
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			spec := agentproto.Program{Path: "cat", Stdin: true}
			s, err := agentclient.Exec(g.ctx, g.dial(), spec, agentclient.Output{Stdout: &out[i]})
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if err := agentclient.Ping(g.ctx, g.dial()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if list := g.sessions(); len(list) != many || !list[many-1].Attached {
		t.Errorf("%d sessions", len(list))
	}
	for i, s := range all {
		if _, err := fmt.Fprintf(s.Stdin(), "%d\n", i); err != nil {
			t.Fatal(err)
		}
		if err := s.Stdin().Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range all {
		if exit := wait(t, s); exit != (agentproto.Exit{}) || out[i].String() != fmt.Sprintln(i) {
			t.Fatalf("program %d: %+v, %q", i, exit, out[i].String())
		}
	}
}

// TestTooManyOperations: what takes long has a bound, what does not goes on.
func TestTooManyOperations(t *testing.T) {
	g := newGuest(t)
	g.a.operations.Store(maxOperations)
	_, err := agentclient.Exec(g.ctx, g.dial(), sh("true"), agentclient.Output{})
	if kind(err) != agentproto.KindBusy {
		t.Errorf("exec: %v", err)
	}
	if err := agentclient.Ping(g.ctx, g.dial()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

// TestMainSession: the main program is signalled as any other, and cannot be detached.
func TestMainSession(t *testing.T) {
	g := newGuest(t)
	proc, failure := program.Start(reaper, sh("exec sleep 1000"))
	if failure != nil {
		t.Fatal(failure)
	}
	defer proc.Close()
	g.a.main.begin(newStream(proc, agentproto.MainSession, agentproto.Program{}), nil)
	if err := agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: agentproto.MainSession, Signal: 15}); err != nil {
		t.Fatal(err)
	}
	<-proc.Done()
	if exit := proc.Exit(); exit.Signal != 15 {
		t.Errorf("exit %+v", exit)
	}
	s := newStream(proc, agentproto.MainSession, agentproto.Program{})
	if _, ok := errors.AsType[*agentproto.ViolationError](s.handle(agentproto.Frame{Type: agentproto.TypeDetach})); !ok {
		t.Error("the main program can be detached")
	}
}
