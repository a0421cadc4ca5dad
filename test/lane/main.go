// Command lane runs the kvm lane: the tests that need a /dev/kvm which runs
// Linux.
//
// Where this host's does, they run here. Elsewhere each part of the lane runs in
// an outer VM: a guest of Holt's qemu backend, in which QEMU's software emulation
// provides a CPU with AMD SVM and Debian's kernel a /dev/kvm. The outer VM sees
// this host's files at the same paths; what it writes stays in its memory.
//
// It fails when a test fails, when a test was skipped, and when the lane cannot
// run. HOLT_SKIP_KVM_LANE=1 is the one way around it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holtvm/holt/internal/hypervisor"
	"github.com/holtvm/holt/internal/vmtest"
)

// Where the tests run.
const (
	whereAuto  = "auto"
	whereHost  = "host"
	whereOuter = "outer"
)

// lane is how the parts are run.
type lane struct {
	repo    string // the module's directory
	holt    string // the binary under test, and the one that runs the outer VM
	backend string // what the tests' guests run on
	memory  string // of the outer VM, as `holt run -m` takes it
	filter  string // -test.run for each part, if it is not empty
	race    bool   // with the race detector
	tested  string // the holt that the tests run
	outer   bool
}

func main() {
	var l lane
	var where string
	var list, prepare bool
	flag.StringVar(&where, "where", whereAuto, "run the tests on this `host`, in an outer VM (outer), or wherever /dev/kvm works (auto)")
	flag.StringVar(&l.backend, "backend", hypervisor.NameKVM, "what the tests' guests run on: `kvm`, or qemu with KVM")
	flag.StringVar(&l.memory, "memory", "4G", "memory of the outer VM")
	flag.StringVar(&l.filter, "run", "", "only tests that match this `regexp`")
	flag.BoolVar(&l.race, "race", false, "build holt, and the tests that are not shared into guests, with the race detector")
	flag.BoolVar(&list, "list", false, "list the parts and exit")
	flag.BoolVar(&prepare, "prepare", false, "make the Debian root directories of all tests, unless they are there, and exit")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: lane [flags] [part...]\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if list {
		for _, p := range parts {
			fmt.Printf("%-12s %s\n", p.name, p.pkg)
		}
		return
	}
	if os.Getenv("HOLT_SKIP_KVM_LANE") == "1" {
		fmt.Println("lane: skipped, because HOLT_SKIP_KVM_LANE=1")
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if prepare {
		err = makeRoots(ctx)
	} else {
		err = l.main(ctx, where, flag.Args())
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lane: %v\n", err)
		os.Exit(1)
	}
}

// makeRoots makes what takes long to be made, and may be made beside other work.
func makeRoots(ctx context.Context) error {
	_, err := vmtest.MakeDebianRoot(ctx)
	_, sshErr := vmtest.MakeSSHRoot(ctx)
	return errors.Join(err, sshErr)
}

// main runs the parts that are named, or all of them.
func (l *lane) main(ctx context.Context, where string, names []string) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if l.outer, err = useOuter(ctx, where); err != nil {
		return err
	}
	if l.repo, err = vmtest.FindRepo(); err != nil {
		return err
	}
	if l.holt, err = filepath.Abs(cmp.Or(os.Getenv("HOLT_BIN"), filepath.Join(l.repo, "bin", "holt"))); err != nil {
		return err
	}
	if _, err := os.Stat(l.holt); err != nil {
		return fmt.Errorf("find the holt binary (run `make build`, or set HOLT_BIN): %w", err)
	}
	if l.tested = l.holt; l.race {
		if l.tested, err = l.buildRacy(ctx); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(chosen, func(p part) bool { return p.debian }) {
		if _, err := vmtest.MakeDebianRoot(ctx); err != nil {
			return err
		}
	}
	var failed []string
	var summary strings.Builder
	for _, p := range chosen {
		start := time.Now()
		result := "ok"
		if err := l.run(ctx, p); err != nil {
			result = "FAIL: " + err.Error()
			failed = append(failed, p.name)
		}
		fmt.Fprintf(&summary, "lane: %-12s %5.1f s  %s\n", p.name, time.Since(start).Seconds(), result)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Print(summary.String())
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if failed != nil {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// useOuter decides whether the tests run in an outer VM, and says why.
func useOuter(ctx context.Context, where string) (bool, error) {
	switch where {
	case whereAuto, whereHost, whereOuter:
	default:
		return false, fmt.Errorf("-where %q: it is one of %s, %s, %s", where, whereAuto, whereHost, whereOuter)
	}
	p := hypervisor.ProbeKVM(ctx, "")
	switch {
	case where == whereHost && !p.Usable:
		return false, fmt.Errorf("the tests cannot run on this host: %s", p.Detail)
	case where == whereOuter || !p.Usable:
		fmt.Printf("lane: in an outer VM; here, %s\n", p.Detail)
		return true, nil
	}
	fmt.Printf("lane: on this host; %s\n", p.Detail)
	return false, nil
}
