package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// watchFor watches a shell with a shorter patience.
func watchFor(patience time.Duration) func(context.Context, int) bool {
	return func(ctx context.Context, pid int) bool {
		return standsStillFor(ctx, func() time.Duration { return treeTime(pid) }, patience)
	}
}

// TestStuckIsKilled: a command that uses no processor time is ended, one that
// works in a process below its own is not.
func TestStuckIsKilled(t *testing.T) {
	start := time.Now()
	if _, err := show(exec.Command("sleep", "60"), watchFor(300*time.Millisecond)); !errors.Is(err, errStuck) {
		t.Errorf("a sleep: %v, want %v", err, errStuck)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	busy := exec.Command("sh", "-c", `echo "=== RUN TestX"; (end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do :; done); exit 7`)
	var exit *exec.ExitError
	if _, err := show(busy, watchFor(500*time.Millisecond)); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("a busy command: %v", err)
	}
}

func TestStandsStill(t *testing.T) {
	var used time.Duration
	steady := func(step time.Duration) func() time.Duration {
		return func() time.Duration { used += step; return used }
	}
	for _, c := range []struct {
		name  string
		used  func() time.Duration
		still bool
	}{
		{"nothing", steady(0), true},
		{"idle", steady(pulse / 4), false}, // adds up
		{"busy", steady(time.Second), false},
		{"processes end", steady(-time.Second), false},
	} {
		used = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if got := standsStillFor(ctx, c.used, 400*time.Millisecond); got != c.still {
			t.Errorf("%s: %v, want %v", c.name, got, c.still)
		}
		cancel()
	}
}

func TestTreeTime(t *testing.T) {
	before := treeTime(os.Getpid())
	for end := before + 50*time.Millisecond; processTime(os.Getpid()) < end; {
		continue
	}
	if after := treeTime(os.Getpid()); after < before+50*time.Millisecond {
		t.Errorf("%v, then %v", before, after)
	}
	if got := processTime(1<<22 + 1); got != 0 {
		t.Errorf("a process that is not there used %v", got)
	}
}
