//go:build tcg

package tcg

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// useAgent lets this test binary, which has no agent inside, run VMs in process.
func useAgent(t *testing.T) {
	t.Helper()
	t.Setenv("HOLT_AGENT", filepath.Join(vmtest.Repo(t), "internal", "agentbin", "bin", "holt-agent"))
}

// sdkVM is a VM of the Go API that runs a shell script in the base root.
func sdkVM(t *testing.T, script string, opts ...holt.Option) (*holt.VM, *bytes.Buffer) {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	vm, err := holt.NewBuilder().RootPath(filepath.Join(dirs.Data, "roots", "base")).RootOverlay(true).
		RAMMiB(256).ExecPath("sh").Args("-c", script).Build(opts...)
	if err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	vm.Stdout, vm.Stderr = out, os.Stderr
	return vm, out
}

// TestStop: Stop lets the program end in its own way, in both ways of running a
// monitor.
func TestStop(t *testing.T) {
	useAgent(t)
	for name, opt := range map[string]holt.Option{"in process": holt.InProcess(), "in a process": holt.WithBinary(vmtest.Holt(t))} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), vmtest.Timeout)
			defer cancel()
			vm, out := sdkVM(t, "trap 'echo bye; exit 5' TERM; while :; do sleep 0.05; done", opt)
			if err := vm.Start(ctx); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond) // until the trap is set
			if err := vm.Stop(ctx); err != nil {
				t.Fatalf("Stop: %v", err)
			}
			var exit *holt.ExitError
			if err := vm.Wait(); !errors.As(err, &exit) || exit.Code != 5 || out.String() != "bye\n" {
				t.Errorf("Wait: %v, output %q", err, out)
			}
		})
	}
	vmtest.NothingLeft(t)
}

// TestInProcessLeavesNothing: no goroutine and no descriptor of a VM outlives it,
// whether it ended or was killed.
func TestInProcessLeavesNothing(t *testing.T) {
	useAgent(t)
	ctx, cancel := context.WithTimeout(t.Context(), vmtest.Timeout)
	defer cancel()
	once := func(script string, kill bool) {
		vm, out := sdkVM(t, script, holt.InProcess())
		if err := vm.Start(ctx); err != nil {
			t.Error(err)
			return
		}
		if kill {
			if err := vm.Kill(); err != nil {
				t.Error(err)
			}
		}
		if err := vm.Wait(); (err != nil) != kill || !kill && out.String() != "fine\n" {
			t.Errorf("%s: %v, output %q", script, err, out)
		}
	}
	once("echo fine", false) // whatever is made once per process
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { once([]string{"echo fine", "sleep 600"}[i%2], i%2 == 1) })
	}
	wg.Wait()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Errorf("%d goroutines, %d before:\n%s", n, goroutines, &stacks)
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d open files, %d before", n, files)
	}
	vmtest.NothingLeft(t)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestRunEndsWithItsContext: Run kills the VM when its context ends.
func TestRunEndsWithItsContext(t *testing.T) {
	useAgent(t)
	vm, _ := sdkVM(t, "sleep 600", holt.InProcess())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := vm.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || holt.ExitStatus(err) != holt.StatusTimeout {
		t.Errorf("Run: %v", err)
	}
	vmtest.NothingLeft(t)
}
