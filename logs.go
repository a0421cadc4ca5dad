package holt

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/holtvm/holt/internal/outlog"
	"github.com/holtvm/holt/internal/state"
)

// LogStream says where a line of a log was printed to.
type LogStream string

// The streams. All output of a program that has a terminal is LogStdout.
const (
	LogStdout  LogStream = "stdout"
	LogStderr  LogStream = "stderr"
	LogConsole LogStream = "console" // the guest's kernel
)

// LogLine is a line that a VM printed. The guest chose its text, which may hold any
// bytes: those that command a terminal too.
type LogLine struct {
	// Time is when the line's first byte came, by the host's clock.
	Time   time.Time `json:"time"`
	Stream LogStream `json:"stream"`
	// Text ends with the line's newline if it had one. A line longer than 64 KiB comes
	// in pieces.
	Text string `json:"text"`
}

// LogOptions say which lines [VM.Logs] gives. The zero value is everything that was
// printed until now.
type LogOptions struct {
	// Since and Until bound the lines' times, unless zero: from Since on, and before
	// Until.
	Since, Until time.Time
	// Tail, if positive, is how many of the last lines until now are given at most.
	Tail int
	// Follow waits for more lines, until the VM has ended or Until is over.
	Follow bool
	// Console gives what the guest's kernel printed, in place of the program's output.
	Console bool
}

// Logs gives what the main program of a VM that is kept printed, in all its runs, in
// the order in which the lines were completed. The last 8 MiB at least are kept, and as
// much of the kernel's console. The sequence ends after an error; that of ctx is one.
// Each use of it reads the log anew.
func (vm *VM) Logs(ctx context.Context, o LogOptions) iter.Seq2[LogLine, error] {
	return sequence(func(each func(LogLine) error) error { return vm.readLog(ctx, o, each) })
}

func (vm *VM) readLog(ctx context.Context, o LogOptions, each func(LogLine) error) error {
	var dir state.Dir
	vm.mu.Lock()
	if vm.dir != nil {
		dir = *vm.dir
	}
	vm.mu.Unlock()
	if !dir.Record.Kept {
		return errors.New("a VM that is not kept has no logs: set its Stdout and Stderr, or make it with Create")
	}
	name := state.OutputLog
	if o.Console {
		name = state.ConsoleLog
	}
	tail := o.Tail
	if tail <= 0 {
		tail = -1
	}
	err := outlog.Read(ctx, dir.Path, name, outlog.Options{
		Since: o.Since, Until: o.Until, Tail: tail, Follow: o.Follow,
		// The monitor holds the lock until all is written.
		Ended: func() bool {
			held, err := dir.Held()
			return err != nil || !held
		},
	}, func(l outlog.Line) error {
		return each(LogLine{l.Time, logStreams[l.Stream], string(l.Text)})
	})
	if errors.Is(err, os.ErrNotExist) { // never started, or removed
		_, err = dir.Held()
		err = notFound(err)
	}
	if err != nil {
		return fmt.Errorf("read the log of VM %s: %w", dir.Record.Label(), err)
	}
	return nil
}

var logStreams = map[outlog.Stream]LogStream{
	outlog.Stdout: LogStdout, outlog.Stderr: LogStderr, outlog.Console: LogConsole,
}

// sequence is what read passes to each, as an iterator.
func sequence[T any](read func(each func(T) error) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		enough := errors.New("enough")
		err := read(func(v T) error {
			if !yield(v, nil) {
				return enough
			}
			return nil
		})
		if err != nil && !errors.Is(err, enough) {
			var none T
			yield(none, err)
		}
	}
}
