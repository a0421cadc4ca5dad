package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestMain makes this binary a holt whose guests are fake ones, when it is started as
// one.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "monitor":
		if err := fakeMonitor(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	case os.Getenv("HOLT_TEST_HOLT") != "":
		os.Exit(Execute(os.Args[1:]))
	default:
		os.Exit(m.Run())
	}
}

// holtProcess returns a command that runs holt in a process of its own.
func holtProcess(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // cleaning up, too
	t.Cleanup(cancel)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	// The race detector waits for a second at each end, unless it is told not to.
	cmd.Env = append(os.Environ(), "HOLT_TEST_HOLT=1", "HOLT_BACKEND=", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return cmd
}

// runHolt runs holt in a process of its own, to its end.
func runHolt(t *testing.T, input string, args ...string) (out, errOut string, status int) {
	t.Helper()
	cmd := holtProcess(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(input), &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), status
}
