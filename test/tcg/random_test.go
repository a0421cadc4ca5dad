//go:build tcg

package tcg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/state"
	"github.com/holtvm/holt/internal/vmtest"
)

// workSeed makes a process of this binary a worker of TestRandomLifecycle.
const workSeed = "HOLT_TEST_WORK_SEED"

// TestRandomLifecycle: several processes do to the same VMs whatever comes to their
// minds. Each answer is one that the table of states allows, and nothing is left at the
// end.
func TestRandomLifecycle(t *testing.T) {
	vmtest.Home(t)
	random := rand.New(rand.NewPCG(vmtest.Seed(t), 0))
	var workers sync.WaitGroup
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.v", "-test.run", "^TestLifecycleWorker$")
		cmd.Env = append(os.Environ(), workSeed+"="+strconv.FormatUint(random.Uint64(), 10), "HOLT_BIN="+vmtest.Holt(t))
		workers.Go(func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("a worker: %v", err)
			}
			t.Logf("%s", out)
		})
	}
	workers.Wait()
}

// TestLifecycleWorker is a process of TestRandomLifecycle.
func TestLifecycleWorker(t *testing.T) {
	text := os.Getenv(workSeed)
	if text == "" {
		t.Skip("not a worker")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{T: t, random: rand.New(rand.NewPCG(seed, 1))}
	w.config, err = holt.NewBuilder().RootPath(dirs.BaseRoot()).RootOverlay(true).RAMMiB(64).
		ExecPath("sh").Args("-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done").Config()
	if err != nil {
		t.Fatal(err)
	}
	for range vmtest.Times(400, 20) {
		w.step()
	}
}

type worker struct {
	*testing.T

	random *rand.Rand
	config holt.Config
}

func (w *worker) name() string { return string(rune('a' + w.random.IntN(3))) }

// step does something that is legal or not to a VM.
func (w *worker) step() {
	ctx, cancel := context.WithTimeout(w.Context(), vmtest.Timeout)
	defer cancel()
	short, cancelShort := context.WithTimeout(ctx, 2*time.Second)
	defer cancelShort()
	name := w.name()
	vm, err := holt.Open(ctx, name)
	if err != nil {
		w.judge("open", name, err)
		if errors.Is(err, holt.ErrNotFound) {
			_, err := holt.Create(ctx, w.config, holt.WithName(name))
			w.judge("create", name, err)
		}
		return
	}
	ops := []struct {
		op string
		do func() error
	}{
		{"start", func() error { return vm.Start(ctx) }},
		{"start", func() error { return vm.Start(ctx) }},
		{"stop", func() error { return vm.Shutdown(ctx, time.Second) }},
		{"kill", vm.Kill},
		{"pause", func() error { return vm.Pause(ctx) }},
		{"resume", func() error { return vm.Resume(ctx) }},
		{"resume", func() error { return vm.Resume(ctx) }},
		{"remove", func() error { return vm.Remove(ctx, false) }},
		{"remove -f", func() error { return vm.Remove(ctx, true) }},
		{"rename", func() error { return vm.Rename(ctx, w.name()) }},
		{"restart", func() error { return vm.Restart(ctx, time.Second) }},
		{"wait", func() error { return vm.WaitContext(short) }},
		{"use", func() error { return vm.Command(short, "true").Run() }},
		{"use", func() error { return vm.Ping(short) }},
		{"signal", func() error { return vm.Signal(2) }},
	}
	chosen := ops[w.random.IntN(len(ops))]
	before, err := vm.Info(ctx)
	w.judge("inspect", name, err)
	begin := time.Now()
	err = chosen.do()
	took := time.Since(begin).Round(time.Millisecond)
	w.Logf("%s %s: %v (%v)", chosen.op, name, err, took)
	if took > 12*time.Second { // less than a guest gets that does not do what it is asked to
		w.Errorf("%s %s took %v", chosen.op, name, took)
	}
	switch chosen.op {
	case "use", "signal", "pause", "resume":
		if w.endedMeanwhile(ctx, vm, before, err) {
			return
		}
	}
	w.judge(chosen.op, name, err)
	w.look(ctx, vm)
}

// endedMeanwhile reports whether a VM whose guest was asked for something did not
// answer as it should because it came to its end, and may run again since.
func (w *worker) endedMeanwhile(ctx context.Context, vm *holt.VM, before holt.Info, err error) bool {
	if _, ok := errors.AsType[*holt.StateError](err); ok || err == nil || before.MonitorPID == 0 {
		return false
	}
	for range 100 {
		now, err := vm.Info(ctx)
		if err != nil || now.MonitorPID != before.MonitorPID {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// judge fails the test for an error that the operation cannot have.
func (w *worker) judge(op, name string, err error) {
	if err == nil || errors.Is(err, holt.ErrNotFound) {
		return
	}
	what, _, _ := strings.Cut(op, " ")
	if illegal, ok := errors.AsType[*holt.StateError](err); ok {
		// A restart is a stop and a start: either may come at a bad time.
		if state.State(illegal.State).Allows(state.Operation(illegal.Operation)) || what != "restart" && illegal.Operation != what {
			w.Errorf("%s %s: %v, which is legal", op, name, err)
		}
		return
	}
	exit, _ := errors.AsType[*holt.ExitError](err)
	guest, _ := errors.AsType[*holt.GuestError](err)
	switch {
	case what == "create" || what == "rename":
		if errors.Is(err, holt.ErrExists) {
			return
		}
	case what == "wait" && (exit != nil || guest != nil),
		(what == "start" || what == "restart") && guest != nil && (guest.Killed || strings.Contains(guest.Reason, "killed") || strings.Contains(guest.Reason, "stopped")), // by somebody else, meanwhile
		what == "use" && (guest != nil || exit != nil && exit.Signal != 0),
		(what == "wait" || what == "use") && errors.Is(err, context.DeadlineExceeded), // it may be paused
		errors.Is(err, holt.ErrNotRunning):
		return
	}
	w.Errorf("%s %s: %T: %v", op, name, err, err)
}

// look fails the test unless what is known about a VM makes sense.
func (w *worker) look(ctx context.Context, vm *holt.VM) {
	i, err := vm.Info(ctx)
	if err != nil {
		w.judge("inspect", vm.Name(), err)
		return
	}
	var wrong string
	switch i.State {
	case holt.StateCreated:
		if i.ExitStatus != nil || i.MonitorPID != 0 {
			wrong = "it never ran"
		}
	case holt.StateStopped:
		if i.ExitStatus == nil || i.MonitorPID != 0 {
			wrong = "it has ended"
		}
	case holt.StateRunning, holt.StatePaused:
		if i.ExitStatus != nil || i.MonitorPID == 0 || i.Started.IsZero() {
			wrong = "it runs"
		}
	case holt.StateStarting, holt.StateStopping:
	default:
		wrong = "there is no such state"
	}
	if wrong != "" {
		w.Errorf("%s, but: %s", wrong, fmt.Sprintf("%+v", i))
	}
}
