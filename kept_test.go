package holt

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/state"
)

// keep makes a VM that is kept, whose monitor misbehaves.
func keep(t *testing.T, monitor, name string) *VM {
	t.Helper()
	vm := testVM(t, monitor)
	kept, err := Create(t.Context(), vm.config, WithBinary(vm.options.binary), WithName(name))
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func TestCreateOpenRemove(t *testing.T) {
	vm := keep(t, "refuses", "web")
	if _, err := Create(t.Context(), vm.config, WithBinary(vm.options.binary), WithName("web")); !errors.Is(err, ErrExists) {
		t.Errorf("a second one of the name: %v", err)
	}
	t.Setenv("HOLT_BIN", "/none") // needed to start it alone
	if bare, err := Open(t.Context(), "web"); err != nil {
		t.Error(err)
	} else if err := bare.Start(t.Context()); !errors.Is(err, ErrHoltNotFound) {
		t.Errorf("Start without a holt: %v", err)
	}
	again, err := Open(t.Context(), vm.ID()[:6], WithBinary(vm.options.binary))
	if err != nil || again.Name() != "web" || !again.Config().Equal(vm.Config()) {
		t.Fatalf("opened %v, %v", again, err)
	}
	for what, err := range map[string]error{
		"Stop": vm.Stop(t.Context()), "Pause": vm.Pause(t.Context()), "Kill": vm.Kill(), "Wait": vm.Wait(),
		"Attach": again.Attach(t.Context()),
	} {
		stateError, ok := errors.AsType[*StateError](err)
		if !ok || !errors.Is(err, ErrNotRunning) || stateError.State != StateCreated || !strings.Contains(err.Error(), "web") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := vm.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("Start: %v", err)
	}
	if err := vm.Rename(t.Context(), "site"); err != nil {
		t.Fatal(err)
	}
	info, err := again.Info(t.Context())
	if err != nil || info.Name != "site" || !info.Kept || info.Config.ExecPath != "true" {
		t.Errorf("%+v, %v", info, err)
	}
	list, err := List(t.Context())
	if err != nil || len(list) != 1 || list[0].Label() != "site" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := again.Remove(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Remove": vm.Remove(t.Context(), true), "Start": vm.Start(t.Context()), "Rename": vm.Rename(t.Context(), "x"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of a removed VM: %v", what, err)
		}
	}
	if _, err := Open(t.Context(), "site", WithBinary(vm.options.binary)); !errors.Is(err, ErrNotFound) {
		t.Errorf("Open of a removed VM: %v", err)
	}
}

// TestStartAfterACrash: what a monitor that was killed left behind is no hindrance, and
// is told.
func TestStartAfterACrash(t *testing.T) {
	vm := keep(t, "dies", "web")
	dir := &state.Dir{Path: vm.dir.Path, Record: vm.dir.Record}
	if err := dir.TryLock(); err != nil {
		t.Fatal(err)
	}
	if err := dir.SetStatus(state.Status{State: state.Running, Monitor: 1}); err != nil {
		t.Fatal(err)
	}
	if err := vm.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "it is running") {
		t.Errorf("Start while it runs: %v", err)
	}
	dir.Unlock()
	info, err := vm.Info(t.Context())
	if err != nil || info.State != StateStopped || !strings.Contains(info.Error, "monitor died") || *info.ExitStatus != StatusHoltFailed {
		t.Errorf("%+v, %v", info, err)
	}
	if guest, ok := errors.AsType[*GuestError](vm.Wait()); !ok || !strings.Contains(guest.Reason, "monitor died") {
		t.Errorf("Wait: %v", guest)
	}
	// The new monitor dies as well, which is another matter.
	if err := vm.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 9") {
		t.Errorf("Start: %v", err)
	}
	log, err := os.ReadFile(filepath.Join(vm.dir.Path, state.MonitorLog))
	if err != nil || string(log) != "last words\n" {
		t.Errorf("monitor.log: %q, %v", log, err)
	}
}

func TestPrune(t *testing.T) {
	done := keep(t, "dies", "done")
	create := func(name string) *VM {
		vm, err := Create(t.Context(), done.config, WithBinary(done.options.binary), WithName(name))
		if err != nil {
			t.Fatal(err)
		}
		return vm
	}
	create("new")
	busy := create("busy")
	for _, vm := range []*VM{done, busy} {
		dir := &state.Dir{Path: vm.dir.Path, Record: vm.dir.Record}
		if err := dir.TryLock(); err != nil {
			t.Fatal(err)
		}
		defer dir.Unlock()
		if err := dir.SetStatus(state.Status{State: state.Running}); err != nil {
			t.Fatal(err)
		}
		if vm == done {
			dir.Unlock()
		}
	}
	for _, c := range []struct {
		created bool
		want    []string
	}{{false, []string{"done"}}, {true, []string{"new"}}, {true, nil}} {
		if removed, err := Prune(t.Context(), c.created); err != nil || !slices.Equal(removed, c.want) {
			t.Errorf("removed %v, %v; want %v", removed, err, c.want)
		}
	}
}

// TestStartTellsOfThisTime: how the VM ended before is no reason.
func TestStartTellsOfThisTime(t *testing.T) {
	vm := keep(t, "refuses", "web")
	dir := &state.Dir{Path: vm.dir.Path, Record: vm.dir.Record}
	if err := dir.TryLock(); err != nil {
		t.Fatal(err)
	}
	if err := dir.SetStatus(state.Status{State: state.Stopped, End: &state.End{Error: "last time's"}}); err != nil {
		t.Fatal(err)
	}
	dir.Unlock()
	err := vm.Start(t.Context())
	if guest, ok := errors.AsType[*GuestError](err); !ok || guest.Reason != "no such luck" {
		t.Errorf("Start: %v", err)
	}
}

// TestStartEndsWhatTalksNonsense: a VM that is kept does not go on, nor does Start wait
// for its end.
func TestStartEndsWhatTalksNonsense(t *testing.T) {
	vm := keep(t, "nonsense", "web")
	done := make(chan error, 1)
	go func() { done <- vm.Start(t.Context()) }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "violation") {
			t.Errorf("Start: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Start hangs")
	}
	if held, err := vm.dir.Held(); held || err != nil {
		t.Errorf("its monitor is still there: %v", err)
	}
}

// TestWaitKnowsFromTheStreams: whoever was connected to the program knows how it ended,
// even if the VM is removed at once.
func TestWaitKnowsFromTheStreams(t *testing.T) {
	for want, last := range map[string]func(*agentproto.Writer) error{
		"exit status 3": func(w *agentproto.Writer) error { return w.Exit(agentproto.Exit{Code: 3}) },
		"it panicked": func(w *agentproto.Writer) error {
			return w.Error(&agentproto.Error{Kind: agentproto.KindInternal, Message: "it panicked"})
		},
	} {
		vm := keep(t, "dies", "web")
		ours, theirs := net.Pipe()
		go func() {
			w := agentproto.NewWriter(theirs)
			if err := errors.Join(w.Started(agentproto.Started{PID: 2}), last(w)); err != nil {
				t.Error(err)
			}
			theirs.Close()
		}()
		var err error
		if vm.session, err = agentclient.Attach(t.Context(), ours, agentproto.Program{}, agentclient.Output{}); err != nil {
			t.Fatal(err)
		}
		if err := vm.Remove(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if err := vm.Wait(); err == nil || err.Error() != want {
			t.Errorf("Wait: %v, want %s", err, want)
		}
	}
}

// TestRestartOfWhatRunsOnce: it is not stopped for nothing.
func TestRestartOfWhatRunsOnce(t *testing.T) {
	g := newFakeGuest(t)
	g.vm.dir.Record.Kept = false
	if err := g.vm.Restart(t.Context(), 0); !errors.Is(err, ErrStarted) {
		t.Errorf("Restart: %v", err)
	}
}
