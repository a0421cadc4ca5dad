package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	greeting = "hello from the guest" // what the program hello writes

	startTimeout = time.Minute // of one guest that only says hello
)

// timeToGreeting starts cmd and returns how long it was until its output had the
// greeting. It returns when the command has ended.
func timeToGreeting(ctx context.Context, cmd *exec.Cmd) (took time.Duration, err error) {
	begin := time.Now()
	err = greeted(ctx, cmd, func(io.Reader) error {
		took = time.Since(begin)
		return nil
	})
	return took, err
}

// greeted starts cmd and calls then with the rest of its output when that had the
// greeting. It returns when the command has ended, however it did: a kernel whose
// init ended panics.
func greeted(ctx context.Context, cmd *exec.Cmd, then func(rest io.Reader) error) error {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err = awaitGreeting(out); err == nil {
		err = then(out)
	}
	_, _ = io.Copy(io.Discard, out) // to its end
	_ = cmd.Wait()
	if err != nil {
		err = errors.Join(err, context.Cause(ctx), errors.New(complaints.String()))
	}
	return err
}

// awaitGreeting reads until the greeting was there.
func awaitGreeting(r io.Reader) error {
	var seen []byte
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		seen = append(seen, buf[:n]...)
		if strings.Contains(string(seen), greeting) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("no %q in the output %q: %w", greeting, seen, err)
		}
	}
}
