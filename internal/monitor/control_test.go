package monitor

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
)

func TestControl(t *testing.T) {
	// Longer than a socket's address can be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	vm := &fakeVM{}
	var killed error
	env := Env{Dirs: paths.Dirs{Data: t.TempDir()}, Log: slog.New(slog.DiscardHandler)}
	i := newInstance(Spec{ID: "0123456789ab", Name: "web", Dir: dir}, newProgram(&console{}, nil), func(err error) { killed = err }, env)
	stop := serveControl(listener, i, env.Log)
	client := control.NewClient(dir)
	refused := func(path, want string, params ...string) {
		t.Helper()
		_, err := client.Do(t.Context(), path, params...)
		if refusal, ok := errors.AsType[*control.RefusedError](err); !ok || !strings.Contains(refusal.Reason, want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	refused(control.PathPause, "cannot pause VM web: it is starting")
	if _, err := client.Upgrade(t.Context(), control.PathAgent); err == nil || !strings.Contains(err.Error(), "it is starting") {
		t.Errorf("the agent of a VM that is not up: error %v", err)
	}
	dialed := errors.New("nobody listens")
	i.starts(t.Context(), "kvm", vm, nil, func(context.Context, uint32) (net.Conn, error) { return nil, dialed }, nil)
	i.runs()
	if _, err := client.Do(t.Context(), control.PathPause); err != nil || vm.pauses.Load() != 1 {
		t.Errorf("pause: error %v, the VM saw %d", err, vm.pauses.Load())
	}
	refused(control.PathPause, "it is paused (must be running)")
	refused(control.PathAgent, "it is paused")
	if _, err := client.Do(t.Context(), control.PathResume); err != nil || vm.pauses.Load() != 0 {
		t.Errorf("resume: error %v, the VM saw %d", err, vm.pauses.Load())
	}
	refused(control.PathResume, "it is running (must be paused)")
	refused(control.PathAgent, "nobody listens")
	refused(control.PathSignal, "not 0 to 64", control.ParamSignal, "65")
	refused(control.PathStop, "not 0 to", control.ParamGrace, "-1")
	refused("/nonsense", "404")
	waited := make(chan state.End, 1)
	go func() {
		var end state.End
		if err := client.Get(context.Background(), control.PathWait, &end); err != nil {
			t.Error(err)
		}
		waited <- end
	}()
	if run, err := client.Do(t.Context(), control.PathKill); err != nil || !errors.Is(killed, errKilled) || run == "" || run != i.status.Run {
		t.Errorf("kill: error %v, the VM saw %v", err, killed)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Do(ended, control.PathResume); err == nil {
		t.Error("an ended context was not noticed")
	}
	i.finish(agentproto.Frame{}, killed)
	refused(control.PathKill, "it is stopped")
	if end := <-waited; !end.Killed || end.Signal != 9 {
		t.Errorf("who waits hears %+v", end)
	}
	if s, err := (&state.Dir{Path: dir}).Status(); err == nil {
		t.Errorf("a directory without a lock has the status %+v", s)
	}
	stop()
	if _, err := client.Do(t.Context(), control.PathResume); err == nil {
		t.Error("a monitor that is gone answers")
	}
}

// pausingVM does something else while it is paused.
type pausingVM struct {
	*fakeVM

	meanwhile func() error
}

func (v pausingVM) Pause(ctx context.Context) error {
	return errors.Join(v.fakeVM.Pause(ctx), v.meanwhile())
}

// TestPauseIsUndone: a guest that was asked to end while somebody pauses it is not
// left paused, nor is one whose pause has failed.
func TestPauseIsUndone(t *testing.T) {
	for _, c := range []struct {
		meanwhile func(i *instance) error
		want      string
		now       state.State
	}{
		{func(i *instance) error { return i.stop(time.Second) }, "it is stopping", state.Stopping},
		{func(*instance) error { return errors.New("no luck") }, "no luck", state.Running},
	} {
		env := Env{Dirs: paths.Dirs{Data: t.TempDir()}, Log: slog.New(slog.DiscardHandler)}
		i := newInstance(Spec{ID: "0123456789ab", Dir: t.TempDir()}, newProgram(&console{}, nil), func(error) {}, env)
		vm := pausingVM{&fakeVM{}, func() error { return c.meanwhile(i) }}
		i.starts(t.Context(), "kvm", vm, nil, nil, nil)
		i.runs()
		if err := i.pause(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("pause: error %v, want %q", err, c.want)
		}
		if n := vm.pauses.Load(); n != 0 || i.state() != c.now {
			t.Errorf("it is %s, and paused %d times", i.state(), n)
		}
	}
}

// TestNoStartWithoutAState: a VM of which nobody could know that it runs does not.
func TestNoStartWithoutAState(t *testing.T) {
	env := Env{Log: slog.New(slog.DiscardHandler)}
	i := newInstance(Spec{Dir: filepath.Join(t.TempDir(), "none")}, newProgram(&console{}, nil), func(error) {}, env)
	if _, err := i.run(t.Context(), env); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
