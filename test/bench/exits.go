package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Sums of the exits of a start, besides which figures has each kind.
const (
	exitsInAll  = "all"
	exitsToUser = "to user space"
)

const (
	tracefs = "/sys/kernel/tracing"
	// traceBuffer is what each CPU can note, in KiB. An exit takes some 70 bytes.
	traceBuffer = "4096"
)

// tracer notes the exits of all guests of this process and those that it starts,
// in a trace of its own (Linux, Documentation/trace/ftrace.rst).
type tracer struct{ dir string }

func newTracer() (*tracer, error) {
	if _, err := os.Stat(filepath.Join(tracefs, "instances")); err != nil {
		if err := unix.Mount("tracefs", tracefs, "tracefs", 0, ""); err != nil {
			return nil, fmt.Errorf("mount tracefs, which counts exits: %w", err)
		}
	}
	t := &tracer{filepath.Join(tracefs, "instances", fmt.Sprintf("holt-bench-%d", os.Getpid()))}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, fmt.Errorf("trace exits: %w", err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	settings := [][2]string{
		{"tracing_on", "0"}, {"buffer_size_kb", traceBuffer},
		{"events/kvm/kvm_exit/enable", "1"}, {"events/kvm/kvm_userspace_exit/enable", "1"},
		{"options/event-fork", "1"},
	}
	for _, thread := range threads {
		settings = append(settings, [2]string{"set_event_pid", thread.Name()})
	}
	for _, s := range settings {
		if err := t.set(s[0], s[1]); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	return t, nil
}

func (t *tracer) set(file, value string) error {
	// Appending, because a list that is opened otherwise begins anew.
	f, err := os.OpenFile(filepath.Join(t.dir, file), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("trace exits: %w", err)
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (t *tracer) start() error { return t.set("tracing_on", "1") }
func (t *tracer) stop() error  { return t.set("tracing_on", "0") }

// close ends the trace and forgets it.
func (t *tracer) close() error { return os.Remove(t.dir) }

func (t *tracer) exits() (figures, error) {
	f, err := os.Open(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return countExits(f)
}

// countExits reads a trace: a comment for a head, and a line for each event, of
// which these have a reason:
//
//	holt-87 [000] ..... 1.5: kvm_exit: vcpu 0 reason npf rip 0x1000123 info1 …
//	holt-87 [000] ..... 1.6: kvm_userspace_exit: reason KVM_EXIT_IO (2)
func countExits(r io.Reader) (figures, error) {
	f := figures{exitsInAll: 0, exitsToUser: 0}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if counts, ok := strings.CutPrefix(line, "# entries-in-buffer/entries-written:"); ok {
			var kept, written int
			if _, err := fmt.Sscanf(strings.TrimSpace(counts), "%d/%d", &kept, &written); err != nil || kept != written {
				return nil, fmt.Errorf("the trace has lost events: %s", line)
			}
		}
		// A thread may have any name, so that it is the last that counts.
		what := line[strings.LastIndex(line, ": kvm_")+1:]
		_, reason, _ := strings.Cut(what, "reason ")
		reason, _, _ = strings.Cut(reason, " ")
		switch {
		case strings.HasPrefix(what, " kvm_exit:"):
			f[exitsInAll]++
			f[strings.ToLower(reason)]++
		case strings.HasPrefix(what, " kvm_userspace_exit:"):
			f[exitsToUser]++
			f["to user "+strings.ToLower(strings.TrimPrefix(reason, "KVM_EXIT_"))]++
		}
	}
	if lines.Err() == nil && f[exitsInAll] == 0 {
		return nil, errors.New("the trace has no exits")
	}
	return f, lines.Err()
}

// exits counts a side's exits until the program's first byte, by kind.
func (t *turns) exits(ctx context.Context, c *kvmSide) (f figures, err error) {
	trace, err := newTracer()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, trace.close()) }()
	if err := trace.start(); err != nil {
		return nil, err
	}
	cmd := c.command("")
	err = greeted(ctx, cmd, func(io.Reader) error {
		return errors.Join(trace.stop(), cmd.Process.Signal(c.end))
	})
	if err != nil {
		return nil, err
	}
	return trace.exits()
}
