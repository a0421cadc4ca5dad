// Command bench measures Holt against QEMU itself and against the C
// implementations of what Holt's devices do: same kernel, same accelerator, one
// run on one machine, taking turns. It prints a table and writes the same as
// JSON.
//
// It fails when something could not be measured. A goal that was missed is no
// failure: how fast a machine is, and how busy, is not the code's doing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// options are the flags.
type options struct {
	short   bool
	only    string
	out     string
	holt    string // binary to measure
	dir     string // where shared directories and disks are
	runs    int    // 0: each benchmark's own number
	profile string // directory for profiles of our devices; "" for none
}

// benchmark is one kind of measurement.
type benchmark struct {
	name string
	run  func(*bench, context.Context) ([]result, error)
}

// benchmarks are what -only takes, in the order in which they run.
var benchmarks = []benchmark{
	{"start", (*bench).start},
	{"memory", (*bench).memory},
	{"virtiofs", (*bench).virtiofs},
	{"net", (*bench).network},
	{"blk", (*bench).disk},
	{"exec", (*bench).exec},
	{"copy", (*bench).copy},
	{"kvm-start", (*bench).kvmStart},
	{"kvm-exits", (*bench).kvmExits},
	{"kvm-memory", (*bench).kvmMemory},
	{"kvm-idle", (*bench).kvmIdle},
	{"kvm-clones", (*bench).kvmClones},
	{"vmm-start", (*bench).vmmStart},
	{"vmm-restore", (*bench).vmmRestore},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	part(ctx, os.Args[1:])
	var o options
	flag.BoolVar(&o.short, "short", false, "less work and fewer runs, to see that everything can be measured")
	var names []string
	for _, one := range benchmarks {
		names = append(names, one.name)
	}
	flag.StringVar(&o.only, "only", "", "one `benchmark`: "+strings.Join(names, ", "))
	flag.StringVar(&o.out, "o", "bench.json", "write the results to this `file`")
	flag.StringVar(&o.holt, "holt", "bin/holt", "the holt `binary` to measure")
	flag.StringVar(&o.dir, "dir", "", "make shared directories and disks in this `directory` (default: a file system in memory if there is room, so that the disk is not measured)")
	flag.IntVar(&o.runs, "runs", 0, "number of runs of each side")
	flag.StringVar(&o.profile, "profile", "", "write CPU profiles of our devices into this `directory`")
	flag.Parse()
	if o.only != "" && !slices.Contains(names, o.only) {
		exit(fmt.Errorf("there is no benchmark %q", o.only))
	}
	exit(measure(ctx, o))
}

// part is for a process that a benchmark started, if these are its arguments: it
// does its part and ends the process. Whatever program the benchmarks are in calls
// it first.
func part(ctx context.Context, args []string) {
	switch {
	case len(args) == 3 && args[0] == serveCommand:
		exit(serve(deviceKind(args[1]), args[2]))
	case len(args) == 2 && args[0] == insideCommand:
		exit(inside(ctx, args[1]))
	case len(args) == 4 && args[0] == machineCommand:
		exit(machine(args[1], args[2], args[3]))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure(ctx context.Context, o options) error {
	b, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	defer b.cleanUp()
	results := []result{}
	var errs []error
	for _, one := range benchmarks {
		if o.only != "" && o.only != one.name {
			continue
		}
		some, err := one.run(b, ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", one.name, err))
		}
		results = append(results, some...)
	}
	printTable(os.Stdout, results)
	return errors.Join(append(errs, writeJSON(o.out, results))...)
}

// progress tells on standard error what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
