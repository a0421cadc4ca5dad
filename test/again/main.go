// Command again runs go test with its arguments, of which the packages are behind "--",
// and a few tests that failed once more. It is for guests under QEMU's software
// emulation, of which one in some hundred loses an interrupt and stands still, or dies: a
// test that fails twice has found something else.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/holtvm/holt/internal/vmtest"
)

func main() {
	flags, packages := os.Args[1:], []string(nil)
	if i := slices.Index(flags, "--"); i >= 0 {
		flags, packages = flags[:i], flags[i+1:]
	}
	if len(packages) == 0 {
		fmt.Fprintln(os.Stderr, "usage: again [go test flags] -- packages")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, flags, packages)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "again: %v\n", err)
		os.Exit(1)
	}
}

// run tests the packages, and what failed again. What the tests print goes to w.
func run(ctx context.Context, w io.Writer, flags, packages []string) error {
	got, err := test(ctx, w, slices.Concat(flags, packages)...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var failed []string
	for _, p := range got.Packages {
		if run, why := vmtest.Again(p.Failed); run != "" && ctx.Err() == nil {
			fmt.Fprintf(w, "again: %s: %s\n", p.Name, why)
			if _, err := test(ctx, w, slices.Concat(flags, []string{"-run", run, p.Name})...); err == nil {
				continue
			}
		}
		failed = append(failed, p.Name)
	}
	if failed == nil && len(got.Packages) > 0 {
		return nil
	}
	return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
}

func test(ctx context.Context, w io.Writer, args ...string) (*vmtest.Results, error) {
	got := &vmtest.Results{W: w}
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // go test ends its tests
	cmd.Stdout, cmd.Stderr = got, got
	return got, cmd.Run()
}
