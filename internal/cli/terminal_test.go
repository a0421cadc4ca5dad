package cli

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt"
)

// openPTY returns the controlling side of a terminal, which has no size yet.
func openPTY(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestBarOnTerminalWithoutSize(t *testing.T) {
	b := newCopyBar(openPTY(t), false)
	if b == nil {
		t.Fatal("no bar on a terminal")
	}
	b.begun = time.Now().Add(-time.Minute)
	b.show(holt.CopyStatus{Path: "f", Bytes: 1, Total: 2})
	if b.last.IsZero() {
		t.Error("nothing was shown")
	}
}

// neverProgram is a program that needs nothing.
type neverProgram struct{}

func (neverProgram) Signal(syscall.Signal) error  { return nil }
func (neverProgram) Resize(holt.WindowSize) error { return nil }

// Output whose reader has gone must not end this process before the terminal is as it was.
func TestBrokenPipeWithTerminal(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	term := &terminal{in: openPTY(t)}
	wait := func() error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGPIPE); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Second):
		}
		return nil
	}
	err := converse(ctx, cancel, neverProgram{}, term, lastResort{}, func() error { return nil }, wait)
	if exit, ok := errors.AsType[*holt.ExitError](err); !ok || exit.Signal != syscall.SIGPIPE {
		t.Error(err)
	}
	if term.saved != nil {
		t.Error("the terminal was not restored")
	}
}
