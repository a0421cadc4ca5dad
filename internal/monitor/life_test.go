package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/hypervisor"
)

// fakeVM is a machine without a guest: the test plays the guest.
type fakeVM struct {
	once sync.Once
	done chan struct{}
	err  error
	cpu  func() time.Duration
	dead atomic.Bool // its vCPUs do nothing

	pauses atomic.Int32 // since the last resume
	holds  atomic.Int32

	presses atomic.Int32  // of the power button
	saving  time.Duration // so long does it take until it can go on
}

func (v *fakeVM) Done() <-chan struct{} { return v.done }
func (v *fakeVM) Err() error            { return v.err }
func (v *fakeVM) Kill()                 { v.once.Do(func() { close(v.done) }) }

func (v *fakeVM) CPUTime() time.Duration {
	if v.dead.Load() {
		return 0
	}
	return v.cpu()
}

func (v *fakeVM) Pause(context.Context) error {
	if v.pauses.Add(1) > 1 {
		return errors.New("no second pause")
	}
	return nil
}

func (v *fakeVM) Resume(context.Context) error {
	time.Sleep(v.saving)
	v.pauses.Store(0)
	return nil
}

func (v *fakeVM) Hold(held bool) {
	if held {
		v.holds.Add(1)
	}
}

func (v *fakeVM) PowerButton() error {
	v.presses.Add(1)
	return nil
}

func (v *fakeVM) Stats() hypervisor.Stats { return hypervisor.Stats{} }

func (v *fakeVM) die(err error) { v.once.Do(func() { v.err = err; close(v.done) }) }

// pipeListener accepts one connection.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.gone) }); return nil }
func (l *pipeListener) Addr() net.Addr { return nil }

// rig is a life with the test at both ends: as client and as guest.
type rig struct {
	vm     *fakeVM
	client net.Conn
	guest  net.Conn // the agent's end of the boot connection
	stops  chan<- time.Duration
	cancel func() // asks the guest to stop
	result chan error
	last   agentproto.Frame
	con    *console
	dialed chan net.Conn // the guest's ends of connections to the agent
}

func startLife(t *testing.T) *rig {
	con, err := newConsole(Spec{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r := &rig{
		vm:     &fakeVM{done: make(chan struct{}), cpu: func() time.Duration { return time.Since(start) / 10 }},
		result: make(chan error, 1), con: con, dialed: make(chan net.Conn, 1),
	}
	client, theirs := net.Pipe()
	guest, agent := net.Pipe()
	r.client, r.guest = client, guest
	l := &pipeListener{conns: make(chan net.Conn, 1), gone: make(chan struct{})}
	l.conns <- agent
	ctx, kill := context.WithCancelCause(t.Context())
	stops := make(chan time.Duration, 1)
	r.stops, r.cancel = stops, func() { stops <- stopGrace }
	p := newProgram(con, nil)
	c := newClient(theirs, true)
	if err := p.connect(c, true); err != nil {
		t.Fatal(err)
	}
	go func() { kill(p.follow(c, agentproto.NewReader(theirs, agentproto.Host))) }()
	life := &life{budget: bootBudget, vm: r.vm, vcpus: 1, console: con, program: p, stops: stops, began: func() {}, serving: func() bool { return false }, log: slog.New(slog.DiscardHandler), dial: func(context.Context, uint32) (net.Conn, error) {
		ours, guests := net.Pipe()
		r.dialed <- guests
		return ours, nil
	}}
	spec := agentproto.BootSpec{Mounts: []agentproto.Mount{{Tag: "root", Target: "/"}}, Program: agentproto.Program{Path: "true"}}
	go func() {
		defer theirs.Close()
		var err error
		r.last, err = life.live(ctx, func(ctx context.Context) (net.Conn, *agentproto.Reader, error) {
			return life.boot(ctx, l, spec)
		})
		r.vm.Kill()
		p.take(nil)
		r.result <- err
	}()
	t.Cleanup(func() { client.Close(); guest.Close(); kill(nil) })
	return r
}

// boot plays the agent up to the boot specification.
func (r *rig) boot(t *testing.T) (*agentproto.Reader, *agentproto.Writer) {
	t.Helper()
	in, out := agentproto.NewReader(r.guest, agentproto.Host), agentproto.NewWriter(r.guest)
	if err := out.Hello(agentproto.Hello{Kernel: "6.1", PID: 1}); err != nil {
		t.Fatal(err)
	}
	if f, err := in.Next(); err != nil || f.Type != agentproto.TypeSpec {
		t.Fatalf("instead of a specification: %v, %v", f.Type, err)
	}
	synctest.Wait()
	return in, out
}

func (r *rig) wantError(t *testing.T, texts ...string) {
	t.Helper()
	err := <-r.result
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v; want %q in it", err, text)
		}
	}
}

func TestLifeRelaysToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		var out strings.Builder
		session := make(chan *agentclient.Session, 1)
		go func() {
			s, err := agentclient.Attach(t.Context(), r.client, agentproto.Program{Path: "cat", Stdin: true}, agentclient.Output{Stdout: &out})
			if err != nil {
				t.Error(err)
			}
			session <- s
		}()
		in, agent := r.boot(t)
		agent.Started(agentproto.Started{PID: 7})
		s := <-session
		agent.Credit(100)
		go s.Stdin().Write([]byte("input"))
		if f, err := in.Next(); err != nil || f.Type != agentproto.TypeStdin || string(f.Payload) != "input" {
			t.Fatalf("standard input arrived as %v %q, %v", f.Type, f.Payload, err)
		}
		go s.Signal(15)
		if f, err := in.Next(); err != nil || f.Type != agentproto.TypeSignal {
			t.Fatalf("a signal arrived as %v, %v", f.Type, err)
		}
		agent.Frame(agentproto.TypeStdout, []byte("output"))
		agent.Exit(agentproto.Exit{Code: 3})
		if _, err := in.Next(); err != io.EOF { // the host closes when it has everything
			t.Errorf("after the exit: %v", err)
		}
		time.Sleep(time.Second)
		select {
		case <-r.result:
			t.Error("the life ended before the guest powered off")
		default:
		}
		r.vm.die(nil)
		if err := <-r.result; err != nil || r.last.Type != agentproto.TypeExit {
			t.Errorf("ended with %v, %v", r.last.Type, err)
		}
		r.client.Close()
		<-s.Done()
		if out.String() != "output" {
			t.Errorf("output %q", &out)
		}
	})
}

func TestLifeKillsAGuestThatDoesNotPowerOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		go io.Copy(io.Discard, r.client)
		_, agent := r.boot(t)
		agent.Exit(agentproto.Exit{})
		start := time.Now()
		if err := <-r.result; err != nil || time.Since(start) != powerOffTime {
			t.Errorf("ended after %v with %v", time.Since(start), err)
		}
	})
}

func TestLifeExplainsAnEarlyEnd(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, r *rig)
		want []string
	}{
		"power-off before the agent": {func(_ *testing.T, r *rig) { r.vm.die(nil) },
			[]string{"before its program started", "powered off", "console is empty"}},
		"death before the agent": {func(_ *testing.T, r *rig) {
			fmt.Fprintln(r.con, "out of luck")
			r.vm.die(errors.New("qemu was killed"))
		}, []string{"before its program started", "qemu was killed", "| out of luck"}},
		"death while the program runs": {func(t *testing.T, r *rig) {
			r.boot(t)
			fmt.Fprintln(r.con, "Kernel panic - not syncing: otter")
			r.guest.Close()
			r.vm.die(errors.New("reset"))
		}, []string{"before its program did", "reset", "Kernel panic - not syncing: otter"}},
		"agent of another version": {func(_ *testing.T, r *rig) {
			go io.Copy(io.Discard, r.guest)
			fmt.Fprintln(r.guest, `{"holt":99}`)
		}, []string{"version", "99"}},
		"agent that talks nonsense": {func(t *testing.T, r *rig) {
			r.boot(t)
			r.guest.Write([]byte("\xff\x00\x00\x00\xff\xff\xff\xff"))
		}, []string{"protocol violation"}},
		"wedged guest": {func(_ *testing.T, r *rig) { r.vm.dead.Store(true) },
			[]string{"idle", "console is empty"}},
		"stopped before it was up": {func(_ *testing.T, r *rig) { r.cancel() }, []string{"stopped before it was up"}},
		"client that breaks the protocol": {func(t *testing.T, r *rig) { r.client.Write([]byte("\xff\x00\x00\x00\xff\xff\xff\xff")) },
			[]string{"client is gone"}},
		"client that goes away": {func(t *testing.T, r *rig) { r.boot(t); r.client.Close() }, []string{"client is gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := startLife(t)
				c.do(t, r)
				r.wantError(t, c.want...)
			})
		})
	}
}

// TestLifeStops: stopping asks the agent, even of a paused guest, and waits for the
// program's end.
func TestLifeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		go io.Copy(io.Discard, r.client)
		_, agent := r.boot(t)
		synctest.Wait()
		_ = r.vm.Pause(t.Context())
		r.vm.saving = time.Minute // which is no time that the guest had
		r.cancel()
		service := <-r.dialed
		if r.vm.pauses.Load() != 0 {
			t.Error("a paused guest is asked")
		}
		q, err := agentproto.NewReader(service, agentproto.Host).Request()
		if err != nil || q.Op != agentproto.OpShutdown || q.GraceMS != stopGrace.Milliseconds() {
			t.Fatalf("asked for %+v, %v", q, err)
		}
		agentproto.NewWriter(service).Frame(agentproto.TypeOK, nil)
		agent.Exit(agentproto.Exit{Signal: 15})
		r.vm.die(nil)
		if err := <-r.result; err != nil || r.last.Type != agentproto.TypeExit {
			t.Errorf("ended with %v, %v", r.last.Type, err)
		}
	})
}

func TestLifeKillsAGuestThatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		go io.Copy(io.Discard, r.client)
		r.boot(t)
		synctest.Wait()
		start := time.Now()
		r.cancel()
		service := <-r.dialed
		agentproto.NewReader(service, agentproto.Host).Request()
		agentproto.NewWriter(service).Frame(agentproto.TypeOK, nil)
		r.wantError(t, "did not stop when asked to")
		if d := time.Since(start); d < stopGrace+powerOffTime || d > stopGrace+powerOffTime+5*time.Second {
			t.Errorf("killed after %v", d)
		}
	})
}

// TestLifePressesThePowerButton: an agent that does not hear is not waited for.
func TestLifePressesThePowerButton(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		go io.Copy(io.Discard, r.client)
		_, agent := r.boot(t)
		synctest.Wait()
		start := time.Now()
		r.cancel()
		<-r.dialed // and nobody answers
		time.Sleep(askTime + time.Second)
		if n := r.vm.presses.Load(); n != 1 {
			t.Fatalf("pressed %d times", n)
		}
		agent.Exit(agentproto.Exit{})
		r.vm.die(nil)
		if err := <-r.result; err != nil || time.Since(start) > askTime+2*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestLifeStopsSooner: a second request may have less patience.
func TestLifeStopsSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startLife(t)
		go io.Copy(io.Discard, r.client)
		r.boot(t)
		synctest.Wait()
		start := time.Now()
		for _, grace := range []time.Duration{time.Hour, 0} {
			r.stops <- grace
			service := <-r.dialed
			q, err := agentproto.NewReader(service, agentproto.Host).Request()
			if err != nil || q.GraceMS != grace.Milliseconds() {
				t.Fatalf("asked for %+v, %v", q, err)
			}
			agentproto.NewWriter(service).Frame(agentproto.TypeOK, nil)
		}
		r.wantError(t, "did not stop when asked to")
		if d := time.Since(start); d > powerOffTime+5*time.Second {
			t.Errorf("killed after %v", d)
		}
	})
}
