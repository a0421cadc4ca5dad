package agent

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// bootGuest runs a guest's main program as at boot. result has what runMain returned.
func bootGuest(t *testing.T, spec agentproto.BootSpec) (g *guest, host net.Conn, boot *vsockEnd, result chan error) {
	t.Helper()
	g = newGuest(t)
	host, boot = connect(t)
	result = make(chan error, 1)
	go func() { result <- g.a.runMain(newChannel(boot), spec) }()
	return g, host, boot, result
}

func mainSpec(p agentproto.Program) agentproto.BootSpec {
	return agentproto.BootSpec{Mounts: []agentproto.Mount{{Tag: "root", Target: "/"}}, Program: p}
}

func ended(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the guest does not power off")
		return nil
	}
}

// streams is the host's view of a main program.
type streams struct {
	t    *testing.T
	conn net.Conn
	in   *agentproto.Reader
	out  *agentproto.Writer
}

// renewed asks for a renewal and returns what it leads to.
func (g *guest) renewed(r agentproto.Renewal) streams {
	g.t.Helper()
	conn := g.dial()
	in, err := agentclient.Renew(g.ctx, conn, r)
	if err != nil {
		g.t.Fatal(err)
	}
	return streams{g.t, conn, in, agentproto.NewWriter(conn)}
}

// until reads up to a frame of a type, and returns it and the output on the way.
func (s streams) until(want agentproto.Type) (agentproto.Frame, string) {
	s.t.Helper()
	var output strings.Builder
	for {
		f, err := s.in.Next()
		if err != nil {
			s.t.Fatalf("%v after %q", err, output.String())
		}
		if f.Type == want {
			return f, output.String()
		}
		if f.Type == agentproto.TypeStdout {
			output.Write(f.Payload)
		} else if f.Type != agentproto.TypeCredit && f.Type != agentproto.TypeStdinClosed {
			s.t.Fatalf("frame of type %d: %s", f.Type, f.Payload)
		}
	}
}

// exit reads up to the exit, and closes.
func (s streams) exit() (agentproto.Exit, string) {
	s.t.Helper()
	f, output := s.until(agentproto.TypeExit)
	exit, err := agentproto.DecodeExit(f.Payload)
	if err != nil {
		s.t.Fatal(err)
	}
	s.conn.Close()
	return exit, output
}

func (s streams) started() agentproto.Started {
	s.t.Helper()
	f, _ := s.until(agentproto.TypeStarted)
	started, err := agentproto.DecodeStarted(f.Payload)
	if err != nil || started.Session != agentproto.MainSession {
		s.t.Fatalf("%+v, %v", started, err)
	}
	return started
}

// TestResetLeavesMainProgram: it goes on, what it prints is kept, and a renewal has its
// streams, more than once.
func TestResetLeavesMainProgram(t *testing.T) {
	spec := sh(`echo one; read x; echo "two $x"; read x; echo "three $x"; exit 4`)
	spec.Stdin = true
	g, host, boot, result := bootGuest(t, mainSpec(spec))
	first := streams{t, host, agentproto.NewReader(host, agentproto.Agent), agentproto.NewWriter(host)}
	pid := first.started().PID
	first.until(agentproto.TypeStdout)
	if err := first.out.Frame(agentproto.TypeStdin, []byte("a\n")); err != nil {
		t.Fatal(err)
	}
	boot.reset(t)

	again := g.renewed(agentproto.Renewal{})
	if got := again.started().PID; got != pid {
		t.Errorf("process %d, was %d", got, pid)
	}
	// What was under way when the connection ended may be lost.
	f, _ := again.until(agentproto.TypeCredit)
	if n := f.Credit(); n < agentproto.StdinWindow-2 || n > agentproto.StdinWindow {
		t.Errorf("credit of %d bytes", f.Credit())
	}
	second := g.renewed(agentproto.Renewal{})
	if got := second.started().PID; got != pid {
		t.Errorf("process %d, was %d", got, pid)
	}
	for {
		if _, err := again.in.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the replaced connection: %v", err)
		}
	}
	if err := second.out.Frame(agentproto.TypeStdin, []byte("b\nc\n")); err != nil {
		t.Fatal(err)
	}
	exit, output := second.exit()
	if exit.Code != 4 || !strings.Contains(output, "three ") {
		t.Errorf("%+v after %q", exit, output)
	}
	if err := ended(t, result); err != nil {
		t.Error(err)
	}
}

// TestExitWaitsForRenewal: a program that ends while nobody is connected is reported to
// who comes.
func TestExitWaitsForRenewal(t *testing.T) {
	g, host, boot, result := bootGuest(t, mainSpec(sh("sleep 0.3; echo late; exit 6")))
	first := streams{t, host, agentproto.NewReader(host, agentproto.Agent), nil}
	first.started()
	boot.reset(t)
	<-g.a.main.get().done
	s := g.renewed(agentproto.Renewal{})
	s.started()
	if exit, output := s.exit(); exit.Code != 6 || output != "late\n" {
		t.Errorf("%+v after %q", exit, output)
	}
	if err := ended(t, result); err != nil {
		t.Error(err)
	}
}

// TestMainProgramNeedsItsHost: a host that closes gives the guest up, also after a
// renewal.
func TestMainProgramNeedsItsHost(t *testing.T) {
	g, host, boot, result := bootGuest(t, mainSpec(sh("exec sleep 1000")))
	first := streams{t, host, agentproto.NewReader(host, agentproto.Agent), nil}
	pid := first.started().PID
	boot.reset(t)
	s := g.renewed(agentproto.Renewal{})
	s.started()
	s.conn.Close()
	if err := ended(t, result); err != nil || alive(pid) {
		t.Errorf("%v; the program lives: %v", err, alive(pid))
	}
}

// TestHeld: the main program comes with a renewal, which may be repeated.
func TestHeld(t *testing.T) {
	spec := mainSpec(agentproto.Program{})
	spec.Hold = true
	g, host, _, result := bootGuest(t, spec)
	if err := agentclient.AwaitHeld(g.ctx, agentproto.NewReader(host, agentproto.Agent)); err != nil {
		t.Fatal(err)
	}
	host.Close()
	err := agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: agentproto.MainSession, Signal: 15})
	if kind(err) != agentproto.KindNotFound {
		t.Errorf("signal to no program: %v", err)
	}

	none := g.renewed(agentproto.Renewal{})
	if f, err := none.in.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("without a program: frame of type %d, %v", f.Type, err)
	}

	p := sh("echo on; exec sleep 1000")
	s := g.renewed(agentproto.Renewal{Program: &p})
	pid := s.started().PID
	again := g.renewed(agentproto.Renewal{Program: &p})
	if got := again.started().PID; got != pid {
		t.Errorf("process %d, was %d", got, pid)
	}
	other := sh("exit 0")
	if _, err := agentclient.Renew(g.ctx, g.dial(), agentproto.Renewal{Program: &other}); kind(err) != agentproto.KindProtocol {
		t.Errorf("a second program: %v", err)
	}
	if err := again.out.Signal(9); err != nil {
		t.Fatal(err)
	}
	if exit, _ := again.exit(); exit.Signal != 9 {
		t.Errorf("%+v", exit)
	}
	if err := ended(t, result); err != nil {
		t.Error(err)
	}
}

// TestHeldProgramFails: the end is as that of a boot.
func TestHeldProgramFails(t *testing.T) {
	spec := mainSpec(agentproto.Program{})
	spec.Hold = true
	g, _, _, result := bootGuest(t, spec)
	p := agentproto.Program{Path: "/no/such/program"}
	s := g.renewed(agentproto.Renewal{Program: &p})
	f, _ := s.until(agentproto.TypeError)
	if e, err := agentproto.DecodeError(f.Payload); err != nil || e.Kind != agentproto.KindNotFound {
		t.Errorf("%+v, %v", e, err)
	}
	s.conn.Close()
	if err := ended(t, result); err != nil {
		t.Error(err)
	}
}

// TestShutdownOfHeld: there is no main program whose end could be waited for.
func TestShutdownOfHeld(t *testing.T) {
	spec := mainSpec(agentproto.Program{})
	spec.Hold = true
	g, _, _, result := bootGuest(t, spec)
	if err := agentclient.Shutdown(g.ctx, g.dial(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, result); err != nil {
		t.Error(err)
	}
	p := sh("exit 0")
	if _, err := agentclient.Renew(g.ctx, g.dial(), agentproto.Renewal{Program: &p}); kind(err) != agentproto.KindBusy {
		t.Errorf("start while stopping: %v", err)
	}
}

// TestResetDetaches: a program whose connection is reset goes on as a detached one.
func TestResetDetaches(t *testing.T) {
	g := newGuest(t)
	host, guest := connect(t)
	go g.a.operation(guest)
	spec := sh(`echo out; read x; echo "got $x"; exit 3`)
	spec.Stdin = true
	var before, after syncBuffer
	s, err := agentclient.Exec(g.ctx, host, spec, agentclient.Output{Stdout: &before})
	if err != nil {
		t.Fatal(err)
	}
	before.await(t, "out\n")
	guest.reset(t)
	if _, err := s.Wait(); !errors.Is(err, agentclient.ErrLost) {
		t.Errorf("wait: %v", err)
	}
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 1 && list[0].Running && !list[0].Attached })
	again := g.attach(s.ID, agentclient.Output{Stdout: &after}, true)
	if again.PID != s.PID {
		t.Errorf("process %d, was %d", again.PID, s.PID)
	}
	if _, err := io.WriteString(again.Stdin(), "it\n"); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, again); exit.Code != 3 || after.String() != "got it\n" {
		t.Errorf("%+v, %q", exit, after.String())
	}
}

// TestResetWhileOutputIsStuck: a reset that a writer meets first is one all the same.
func TestResetWhileOutputIsStuck(t *testing.T) {
	g := newGuest(t)
	host, guest := connect(t)
	go g.a.operation(guest)
	if err := agentproto.NewWriter(host).Ask(agentproto.Request{Op: agentproto.OpExec}, sh("exec yes")); err != nil {
		t.Fatal(err)
	}
	if f, err := agentproto.NewReader(host, agentproto.Agent).Next(); err != nil || f.Type != agentproto.TypeStarted {
		t.Fatalf("%v, %v", f.Type, err)
	}
	guest.reset(t)
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 1 && list[0].Running && !list[0].Attached })
	if err := agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: "1", Signal: 9}); err != nil {
		t.Fatal(err)
	}
	g.awaitSessions(func(list []agentproto.Session) bool { return len(list) == 1 && !list[0].Running })
}
