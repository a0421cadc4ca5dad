package holt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
)

// TestMain makes this binary a holt whose monitor misbehaves, when asked to.
func TestMain(m *testing.M) {
	switch os.Getenv("HOLT_TEST_MONITOR") {
	case "dies":
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(9)
	case "refuses":
		stream := os.NewFile(4, "stream")
		_ = agentproto.NewWriter(stream).Error(&agentproto.Error{Kind: agentproto.KindInternal, Message: "no such luck"})
		os.Exit(StatusHoltFailed)
	case "nonsense": // of the guest; it ends when it is asked to
		_ = agentproto.NewWriter(os.NewFile(4, "stream")).Frame(agentproto.TypeStarted, []byte("{"))
		if l, err := net.FileListener(os.NewFile(6, "control")); err == nil {
			_, _ = l.Accept()
		}
		os.Exit(0)
	case "hangs":
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

func testVM(t *testing.T, monitor string) *VM {
	t.Helper()
	t.Setenv("HOLT_HOME", t.TempDir())
	t.Setenv("HOLT_TEST_MONITOR", monitor)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.RootPath, cfg.ExecPath = t.TempDir(), "true"
	vm, err := New(cfg, WithBinary(self))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestStartReportsAMonitorThatFails(t *testing.T) {
	for monitor, want := range map[string]string{
		"dies":    "the VM's monitor died: exit status 9",
		"refuses": "no such luck",
	} {
		t.Run(monitor, func(t *testing.T) {
			vm := testVM(t, monitor)
			var log strings.Builder
			vm.Log = &log
			err := vm.Start(t.Context())
			if err == nil || !strings.Contains(err.Error(), want) || ExitStatus(err) != StatusHoltFailed {
				t.Errorf("Start: %v", err)
			}
			if monitor == "dies" && log.String() != "last words\n" {
				t.Errorf("log %q", &log)
			}
			if err := vm.Start(t.Context()); !errors.Is(err, ErrStarted) {
				t.Errorf("second Start: %v", err)
			}
			if left, _ := filepath.Glob(os.Getenv("HOLT_HOME") + "/run/*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestStartGivesUpWithItsContext: even a monitor that hangs is gone afterwards.
func TestStartGivesUpWithItsContext(t *testing.T) {
	vm := testVM(t, "hangs")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := vm.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v", err)
	}
	if left, _ := filepath.Glob(os.Getenv("HOLT_HOME") + "/run/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMethodsNeedARunningVM(t *testing.T) {
	vm := testVM(t, "")
	for name, err := range map[string]error{
		"Wait": vm.Wait(), "Kill": vm.Kill(), "Stop": vm.Stop(t.Context()),
		"Signal": vm.Signal(syscall.SIGTERM), "Resize": vm.Resize(WindowSize{}),
	} {
		if !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	cfg := DefaultConfig()
	if _, err := New(cfg); err == nil {
		t.Error("a Config without root and program is accepted")
	}
}

func TestFindHolt(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "holt")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/none")
	t.Setenv("HOLT_BIN", "")
	if _, err := findHolt(); !errors.Is(err, ErrHoltNotFound) || !strings.Contains(err.Error(), "HOLT_BIN") {
		t.Errorf("nowhere: %v", err)
	}
	t.Setenv("PATH", dir)
	if path, err := findHolt(); err != nil || path != binary {
		t.Errorf("in PATH: %q, %v", path, err)
	}
	t.Setenv("HOLT_BIN", "/none/holt")
	if _, err := findHolt(); !errors.Is(err, ErrHoltNotFound) || !strings.Contains(err.Error(), "/none/holt") {
		t.Errorf("HOLT_BIN that is wrong: %v", err)
	}
	t.Setenv("HOLT_BIN", binary)
	t.Setenv("PATH", "/none")
	if path, err := findHolt(); err != nil || path != binary {
		t.Errorf("HOLT_BIN: %q, %v", path, err)
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		text   string
	}{
		{nil, 0, ""},
		{&ExitError{Code: 42}, 42, "exit status 42"},
		{&ExitError{Signal: syscall.SIGSEGV, CoreDump: true}, 139, "signal: segmentation fault (core dumped)"},
		{fmt.Errorf("run: %w", &ExitError{Signal: syscall.SIGTERM}), 143, "run: signal: terminated"},
		{context.DeadlineExceeded, 124, "context deadline exceeded"},
		{errors.New("anything"), 125, "anything"},
		{fromAgent(&agentproto.Error{Kind: agentproto.KindNotExecutable, Message: "x"}), 126, "program cannot be executed in the guest: x"},
		{fromAgent(&agentproto.Error{Kind: agentproto.KindNotFound, Message: "x"}), 127, "program not found in the guest: x"},
		{fromAgent(&agentproto.Error{Kind: agentproto.KindMount, Message: "x"}), 125, "x"},
	} {
		if got := ExitStatus(c.err); got != c.status || c.err != nil && c.err.Error() != c.text {
			t.Errorf("%v: status %d, want %d and %q", c.err, got, c.status, c.text)
		}
	}
}
