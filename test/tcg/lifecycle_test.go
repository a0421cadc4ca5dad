//go:build tcg

package tcg

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

// listener is a program that tells of the signals that it gets.
const listener = `trap 'echo bye; exit 7' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done`

// TestLifecycle takes one VM through its states, by commands that know nothing of
// each other.
func TestLifecycle(t *testing.T) {
	vmtest.Home(t)
	if out := do(t, "run", "-d", "--name", "web", "--", "sh", "-c", listener); out != "web\n" {
		t.Errorf("run -d printed %q", out)
	}
	i := inspect(t, "web")
	if i.State != holt.StateRunning || !i.Kept || i.MonitorPID == 0 || i.Started.IsZero() || i.ExitStatus != nil || i.Config.ExecPath != "sh" {
		t.Errorf("inspect: %+v", i)
	}
	if out := do(t, "ps"); !strings.Contains(out, i.ID) || !strings.Contains(out, "running for") {
		t.Errorf("ps printed %q", out)
	}
	dont(t, []string{"rm", "web"}, "cannot remove VM web", "running")
	dont(t, []string{"start", "web"}, "cannot start VM web", "running")
	dont(t, []string{"resume", "web"}, "cannot resume VM web", "running")

	do(t, "pause", "web")
	wantState(t, "web", holt.StatePaused, 0)
	dont(t, []string{"exec", "web", "true"}, "VM web", "paused")
	dont(t, []string{"pause", "web"}, "cannot pause VM web", "paused")
	do(t, "resume", "web")
	if out := do(t, "exec", "web", "echo", "fine"); out != "fine\n" {
		t.Errorf("exec printed %q", out)
	}

	waitLog(t, "web", "up\n", 1)
	do(t, "kill", "-s", "USR1", "web")
	waitLog(t, "web", "usr1\n", 1)
	do(t, "rename", "web", "shop")
	dont(t, []string{"inspect", "web"}, "no such VM", "web")

	waiting := vmtest.Start(t, "wait", "shop", i.ID)
	do(t, "stop", "shop")
	waiting.Wait(t).Want(t, 0, "7\n7\n")
	wantState(t, "shop", holt.StateStopped, 7)
	dont(t, []string{"exec", "shop", "true"}, "VM shop", "stopped")
	if out := do(t, "ps", "-q"); out != "" {
		t.Errorf("ps shows what does not run: %q", out)
	}

	do(t, "start", i.ID[:6])
	waitLog(t, "shop", "up\n", 2)
	do(t, "restart", "shop")
	waitLog(t, "shop", "up\n", 3)
	if log := do(t, "logs", "shop"); strings.Count(log, "bye\n") != 2 || !strings.HasPrefix(log, "up\nusr1\nbye\nup\n") {
		t.Errorf("the log of three runs: %q", log)
	}
	do(t, "kill", "shop")
	wantState(t, "shop", holt.StateStopped, 137)
	do(t, "wait", "shop")
	do(t, "rm", "shop")
	dont(t, []string{"inspect", i.ID}, "no such VM")
}

// TestLifecycleWithoutAGuest is what there is to say of VMs that do not run.
func TestLifecycleWithoutAGuest(t *testing.T) {
	vmtest.Home(t)
	if out := do(t, "create", "--name", "a", "--", "true"); out != "a\n" {
		t.Errorf("create printed %q", out)
	}
	id := strings.TrimSpace(do(t, "create", "--", "true"))
	wantState(t, "a", holt.StateCreated, 0)
	for _, args := range [][]string{
		{"stop", "a"}, {"kill", "a"}, {"kill", "-s", "USR1", "a"}, {"pause", "a"}, {"resume", "a"}, {"wait", "a"},
		{"attach", "a"}, {"exec", "a", "true"}, {"shell", "a", "true"},
	} {
		dont(t, args, "VM a", "created")
	}
	for _, args := range [][]string{
		{"create", "--name", "a", "--", "true"}, {"run", "-d", "--name", "a", "--", "true"}, {"run", "--name", "a", "--", "true"}, {"rename", id, "a"},
	} {
		dont(t, args, `"a" is in use`)
	}
	dont(t, []string{"create", "--name", "-x", "--", "true"}, "VM name")
	for _, args := range [][]string{
		{"start", "b"}, {"stop", "b"}, {"kill", "b"}, {"pause", "b"}, {"wait", "b"}, {"rm", "b"}, {"rename", "b", "c"},
		{"inspect", "b"}, {"attach", "b"}, {"exec", "b", "true"}, {"logs", "b"},
	} {
		dont(t, args, "no such VM", `"b"`)
	}
	do(t, "rename", id, "c")
	if names := strings.Fields(do(t, "ps", "-aq")); !slices.Equal(names, []string{"a", "c"}) {
		t.Errorf("ps -aq: %q", names)
	}
	if out := do(t, "ps", "-a", "--filter", "state=created", "--filter", "name=c", "--format", "{{.ID}}"); out != id+"\n" {
		t.Errorf("ps with a filter printed %q", out)
	}
	if out := do(t, "prune"); out != "" {
		t.Errorf("prune removed %q", out)
	}
	// One that fails is no reason not to do the others.
	r := vmtest.Run(t, "rm", "a", "b", "c")
	if lines := strings.Fields(r.Stdout); r.Code != 125 || len(lines) != 2 || !strings.Contains(r.Stderr, `"b"`) {
		t.Errorf("rm of three: %+v", r)
	}
	do(t, "rm", "-f", "a", "b")
	if out := do(t, "ps", "-a", "--json"); out != "[]\n" {
		t.Errorf("afterwards: %s", out)
	}
}

// TestEndsOfKeptVMs: what becomes of a VM whose program ends, or never runs.
func TestEndsOfKeptVMs(t *testing.T) {
	vmtest.Home(t)
	if r := vmtest.Run(t, "run", "-d", "--name", "a", "--", "/no/such"); r.Code != 127 || r.Stdout != "" || !strings.Contains(r.Stderr, "/no/such") {
		t.Errorf("run -d of no program: %+v", r)
	}
	if out := do(t, "ps", "-aq"); out != "" {
		t.Errorf("it left %q", out)
	}
	do(t, "create", "--name", "a", "-i", "--", "sh", "-c", "read x; echo $x; echo oops >&2; exit 3")
	r := vmtest.Command{Args: []string{"start", "-ai", "a"}, Stdin: strings.NewReader("otter\n")}.Run(t)
	r.Want(t, 3, "otter\n")
	if log := vmtest.Run(t, "logs", "a"); r.Stderr != "oops\n" || log.Stdout != r.Stdout || log.Stderr != r.Stderr {
		t.Errorf("start -a printed %+v, and the log is %+v", r, log)
	}
	do(t, "run", "-d", "--rm", "--name", "b", "--", "sleep", "0.2")
	if r := vmtest.Run(t, "wait", "b"); r.Code == 0 && r.Stdout != "0\n" { // it may be gone already
		t.Errorf("wait: %+v", r)
	}
	vmtest.WaitFor(t, func() bool { return vmtest.Run(t, "inspect", "b").Code != 0 }, func() string { return "run --rm left its VM" })
	if out := do(t, "prune"); out != "a\n" {
		t.Errorf("prune removed %q", out)
	}
}

// TestKeptFromGo is the life of VMs from Go, as far as it differs from the commands':
// with the monitor in the process, and errors that say what is wrong.
func TestKeptFromGo(t *testing.T) {
	useAgent(t)
	dirs := vmtest.Home(t)
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.Timeout)
	defer cancel()
	cfg, err := holt.NewBuilder().RootPath(dirs.BaseRoot()).RootOverlay(true).RAMMiB(128).ExecPath("sh").Args("-c", listener).Config()
	if err != nil {
		t.Fatal(err)
	}
	vm, err := holt.Create(ctx, cfg, holt.WithName("web"), holt.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holt.Create(ctx, cfg, holt.WithName("web"), holt.InProcess()); !errors.Is(err, holt.ErrExists) {
		t.Errorf("a second one of the name: %v", err)
	}
	wantStateError := func(what string, err error, state holt.State) {
		t.Helper()
		s, ok := errors.AsType[*holt.StateError](err)
		if !ok || s.State != state || s.VM != "web" || errors.Is(err, holt.ErrNotRunning) != (state == holt.StateCreated || state == holt.StateStopped) {
			t.Errorf("%s when %s: %v", what, state, err)
		}
	}
	wantStateError("Stop", vm.Stop(ctx), holt.StateCreated)
	wantStateError("Wait", vm.Wait(), holt.StateCreated)
	if err := vm.Start(ctx); err != nil {
		t.Fatal(err)
	}
	other, err := holt.Open(ctx, "web", holt.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	wantStateError("Start", other.Start(ctx), holt.StateRunning)
	wantStateError("Remove", other.Remove(ctx, false), holt.StateRunning)
	if err := other.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	wantStateError("Exec", vm.Command(ctx, "true").Run(), holt.StatePaused)
	if err := other.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := holt.List(ctx); err != nil || len(list) != 1 || list[0].ID != vm.ID() || list[0].State != holt.StateRunning {
		t.Errorf("List: %+v, %v", list, err)
	}
	waitLog(t, "web", "up\n", 1)
	// Stopped by another process, it ends here.
	do(t, "stop", "web")
	exit, ok := errors.AsType[*holt.ExitError](vm.Wait())
	if !ok || exit.Code != 7 {
		t.Errorf("Wait: %v", exit)
	}
	wantStateError("Exec", vm.Command(ctx, "true").Run(), holt.StateStopped)
	if removed, err := holt.Prune(ctx, false); err != nil || !slices.Equal(removed, []string{"web"}) {
		t.Errorf("Prune: %q, %v", removed, err)
	}
	for what, err := range map[string]error{"Start": vm.Start(ctx), "Kill": vm.Kill(), "Rename": vm.Rename(ctx, "x"), "Remove": other.Remove(ctx, true)} {
		if !errors.Is(err, holt.ErrNotFound) && !errors.Is(err, holt.ErrNotRunning) {
			t.Errorf("%s of one that is gone: %v", what, err)
		}
	}
	if _, err := holt.Open(ctx, "web", holt.InProcess()); !errors.Is(err, holt.ErrNotFound) {
		t.Errorf("Open: %v", err)
	}
}
