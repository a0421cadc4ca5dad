package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

const (
	// patience is for how long an outer VM may stand still.
	patience = 10 * time.Second
	// bootTime is what an outer VM has beyond its tests' time, at most.
	bootTime = time.Minute
)

// errStuck says that an outer VM did not go on: its emulated CPU halted and no
// interrupt woke it. That happened once in 79 guests when it was counted.
var errStuck = errors.New("the outer VM is stuck")

// run builds and runs a part. A part whose outer VM gets stuck is run again, once, and so
// are a few tests that failed in one.
func (l *lane) run(ctx context.Context, p part) error {
	binary, err := l.build(ctx, p)
	if err != nil {
		return err
	}
	fmt.Printf("lane: part %s, %s\n", p.name, p.pkg)
	if !l.outer {
		cmd := exec.CommandContext(ctx, binary, l.arguments(p)...)
		cmd.Dir = filepath.Join(l.repo, p.pkg)
		cmd.Env = append(os.Environ(), l.environment()...)
		_, err := show(cmd, nil)
		return err
	}
	got, err := show(l.inOuterVM(ctx, p, binary), standsStill)
	if errors.Is(err, errStuck) {
		fmt.Printf("lane: %v: it used no processor time for %v. It was killed, and part %s runs again, once\n", err, patience, p.name)
		_, err = show(l.inOuterVM(ctx, p, binary), standsStill)
		return err
	}
	if run, why := vmtest.Again(got.Failed); err != nil && run != "" && ctx.Err() == nil {
		fmt.Printf("lane: part %s: %s\n", p.name, why)
		some := *l
		some.filter = run
		_, err = show(some.inOuterVM(ctx, p, binary), standsStill)
	}
	return err
}

// environment is what the tests find in theirs besides what is passed on.
func (l *lane) environment() []string {
	return []string{"HOLT_BACKEND=" + l.backend, "HOLT_BIN=" + l.tested}
}

// inOuterVM is the command that runs a part's test binary in an outer VM, whose
// /tmp, where Holt keeps what runs, is its own.
func (l *lane) inOuterVM(ctx context.Context, p part, binary string) *exec.Cmd {
	dirs := []string{l.repo}
	if dir := filepath.Dir(l.holt); !strings.HasPrefix(dir, l.repo+"/") {
		dirs = append(dirs, dir)
	}
	args := append(vmtest.OuterVM(l.memory, dirs...),
		"-w", filepath.Join(l.repo, p.pkg), "--timeout", (p.timeout + bootTime).String())
	for _, entry := range os.Environ() {
		if key, _, _ := strings.Cut(entry, "="); passedOn(key) {
			args = append(args, "-e", entry)
		}
	}
	for _, entry := range l.environment() {
		args = append(args, "-e", entry)
	}
	args = append(append(args, "--", binary), l.arguments(p)...)
	return exec.CommandContext(ctx, l.holt, args...)
}

// passedOn says whether a variable means the same in the outer VM: what finds
// programs, Holt's files and Go's.
func passedOn(key string) bool {
	switch key {
	case "PATH", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME":
		return true
	}
	return strings.HasPrefix(key, "HOLT_") || strings.HasPrefix(key, "GO")
}

// show runs cmd with its output shown. Unless it is nil, still watches cmd's
// processes and returns true to have them killed.
func show(cmd *exec.Cmd, still func(context.Context, int) bool) (*vmtest.Results, error) {
	out := &vmtest.Results{W: os.Stdout}
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return out, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	stuck := make(chan bool, 1)
	go func() {
		if still == nil || !still(ctx, cmd.Process.Pid) {
			stuck <- false
			return
		}
		_ = cmd.Process.Kill() // its guest ends with it
		stuck <- true
	}()
	err := cmd.Wait()
	cancel()
	if <-stuck {
		return out, errStuck
	}
	if err != nil {
		return out, err
	}
	return out, out.Complaint()
}
