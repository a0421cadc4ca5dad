package holt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/outlog"
	"github.com/holtvm/holt/internal/state"
)

// keptVM makes a VM in directories of its own. It never runs.
func keptVM(t *testing.T, name string) *VM {
	t.Helper()
	cfg := DefaultConfig()
	cfg.RootPath, cfg.ExecPath = t.TempDir(), "/bin/true"
	vm, err := Create(t.Context(), cfg, WithName(name), WithBinary("/bin/true"))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func openLog(t *testing.T, vm *VM, name string) *outlog.Writer {
	t.Helper()
	w, err := outlog.Open(vm.dir.Path, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func put(t *testing.T, w *outlog.Writer, s outlog.Stream, second int64, text string) {
	t.Helper()
	if err := w.Write(s, time.Unix(second, 0), []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func logText(t *testing.T, vm *VM, o LogOptions) string {
	t.Helper()
	var b strings.Builder
	for line, err := range vm.Logs(t.Context(), o) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d %s %s", line.Time.Unix(), line.Stream, line.Text)
	}
	return b.String()
}

func TestLogs(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	vm := keptVM(t, "web")
	if got := logText(t, vm, LogOptions{}); got != "" {
		t.Errorf("%q of a VM that never ran", got)
	}
	if got := logText(t, vm, LogOptions{Follow: true}); got != "" {
		t.Errorf("%q of a VM that does not run", got)
	}
	output, console := openLog(t, vm, state.OutputLog), openLog(t, vm, state.ConsoleLog)
	put(t, output, outlog.Stdout, 1, "a\nb\n")
	put(t, output, outlog.Stderr, 2, "c\xff\n")
	put(t, console, outlog.Console, 0, "Linux\n")
	for _, tt := range []struct {
		o    LogOptions
		want string
	}{
		{LogOptions{}, "1 stdout a\n1 stdout b\n2 stderr c\xff\n"},
		{LogOptions{Tail: 2}, "1 stdout b\n2 stderr c\xff\n"},
		{LogOptions{Tail: -1, Until: time.Unix(2, 0)}, "1 stdout a\n1 stdout b\n"},
		{LogOptions{Since: time.Unix(2, 0), Follow: true}, "2 stderr c\xff\n"},
		{LogOptions{Console: true}, "0 console Linux\n"},
	} {
		if got := logText(t, vm, tt.o); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.o, got, tt.want)
		}
	}
	for line := range vm.Logs(t.Context(), LogOptions{}) {
		if line.Text != "a\n" {
			t.Errorf("line %q after the loop was left", line.Text)
		}
		break
	}
	if err := vm.Remove(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := logError(vm, LogOptions{}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "web") {
		t.Errorf("error %v of a VM that was removed", err)
	}
	if err := logError(&VM{}, LogOptions{}); err == nil || !strings.Contains(err.Error(), "not kept") {
		t.Errorf("error %v of a VM that is not kept", err)
	}
}

func logError(vm *VM, o LogOptions) (err error) {
	for _, err = range vm.Logs(context.Background(), o) {
	}
	return err
}

// TestLogsFollow: the log is followed until nobody is in charge of the VM.
func TestLogsFollow(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		vm := keptVM(t, "")
		monitor, err := state.Load(vm.dir.Path)
		if err == nil {
			err = monitor.TryLock()
		}
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string)
		go func() {
			defer close(got)
			for line, err := range vm.Logs(t.Context(), LogOptions{Follow: true}) {
				got <- fmt.Sprintf("%s%v", line.Text, err)
			}
		}()
		time.Sleep(time.Second) // the log is not there yet
		w := openLog(t, vm, state.OutputLog)
		put(t, w, outlog.Stdout, 1, "a\nb")
		if text := <-got; text != "a\n<nil>" {
			t.Errorf("line %q", text)
		}
		time.Sleep(time.Second)
		put(t, w, outlog.Stdout, 1, "c")
		monitor.Unlock()
		if text := <-got; text != "bc<nil>" {
			t.Errorf("line %q", text)
		}
		if text, more := <-got; more {
			t.Errorf("%q after the VM's end", text)
		}
	})
}

func TestEvents(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	a := keptVM(t, "a")
	b := keptVM(t, "b")
	for _, err := range []error{a.Rename(t.Context(), "c"), a.Remove(t.Context(), false)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	collect := func(events func(func(Event, error) bool)) (got []string) {
		for e, err := range events {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Action+" "+e.Name)
		}
		return got
	}
	all := []string{"create a", "create b", "rename c", "remove c"}
	if got := collect(Events(t.Context(), EventOptions{})); !slices.Equal(got, all) {
		t.Errorf("all: %q", got)
	}
	if got := collect(Events(t.Context(), EventOptions{Since: time.Now().Add(time.Hour)})); got != nil {
		t.Errorf("of the future: %q", got)
	}
	if got := collect(b.Events(t.Context(), EventOptions{})); !slices.Equal(got, []string{"create b"}) {
		t.Errorf("of b: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for e, err := range a.Events(ctx, EventOptions{Follow: true}) {
		if e.Action == "remove" {
			cancel()
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	cancel()
}
