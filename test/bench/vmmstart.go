package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/hypervisor"
)

const (
	// builtMessage is what our monitor logs last before its vCPUs run.
	builtMessage = `msg="the machine is built"`
	// vmmStartLimit is the goal for a monitor's start, in ms.
	vmmStartLimit = 10
)

// step is a part of a start and what it took.
type step struct {
	name string
	took time.Duration
}

// vmmStart measures the time from a process's start to the first instruction of
// its guest. Any /dev/kvm will do: what becomes of the guest does not matter.
func (b *bench) vmmStart(ctx context.Context) ([]result, error) {
	if !b.kvm.Usable && b.kvm.Verdict != hypervisor.VerdictEmulates {
		return nil, errors.New(b.kvm.Detail)
	}
	root, err := b.helloRoot()
	if err != nil {
		return nil, err
	}
	var names []string
	var whole, all []float64
	steps := map[string][]float64{}
	n := b.count(21, 3)
	for i := range n + 1 { // the first fills caches and does not count
		took, parts, err := b.monitorStart(ctx, root)
		if err != nil {
			return nil, fmt.Errorf("holt monitor: %w", err)
		}
		command, err := b.commandStart(ctx, root)
		if err != nil {
			return nil, fmt.Errorf("holt run: %w", err)
		}
		if i == 0 {
			continue
		}
		progress("vmm-start %d/%d  monitor %v, with its client %v", i, n, took.Round(time.Microsecond), command.Round(time.Microsecond))
		all, whole = append(all, milliseconds(took)), append(whole, milliseconds(command))
		for _, s := range parts {
			if steps[s.name] == nil {
				names = append(names, s.name)
			}
			steps[s.name] = append(steps[s.name], milliseconds(s.took))
		}
	}
	limit := []float64{vmmStartLimit}
	results := []result{
		compare("vmm-start", "ms", "<= 1.0", "what a monitor may take to its first KVM_RUN", all, limit),
		compare("vmm-start-command", "ms", noGoal, "the same, from `holt run`'s start", whole, limit),
	}
	for _, name := range names {
		results = append(results, compare("vmm-start "+name, "ms", noGoal, "the same", steps[name], limit))
	}
	return results, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// commandStart is the time that `holt run` takes until its guest runs.
func (b *bench) commandStart(ctx context.Context, root string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, b.holt, "run", "--backend", hypervisor.NameKVM, "--log-level", "debug",
		"--rootfs", root, "-m", strconv.Itoa(guestMemory>>20), "--", "/hello")
	took, _, err := timeToBuilt(cmd, func() error { return cmd.Process.Signal(syscall.SIGTERM) })
	return took, err
}

// monitorStart has this process be the client, so that what it takes is the
// monitor's start. What the log does not tell of the time is the first step: a
// process comes to life.
func (b *bench) monitorStart(ctx context.Context, root string) (time.Duration, []step, error) {
	c := holt.DefaultConfig()
	c.RootPath, c.ExecPath, c.MemoryMB, c.LogLevel = root, "/hello", guestMemory>>20, holt.LogDebug
	vm, err := holt.New(c, holt.WithBackend(hypervisor.NameKVM), holt.WithBinary(b.holt))
	if err != nil {
		return 0, nil, err
	}
	log, w, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	vm.Log = w
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	go func() {
		if err := vm.Start(ctx); err == nil {
			_ = vm.Wait() // for what cancel does; how it ends does not matter
		}
		w.Close()
	}()
	took, steps, err := awaitBuilt(log, begin)
	cancel()      // whether the program runs by now
	_ = vm.Kill() // or not
	_, _ = io.Copy(io.Discard, log)
	return took, steps, err
}

// timeToBuilt starts cmd and returns how long it was until the log on its
// standard error said that the machine is built, and the steps that it told of.
// Then it lets end stop the command, and waits for it.
func timeToBuilt(cmd *exec.Cmd, end func() error) (time.Duration, []step, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		return 0, nil, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	took, steps, err := awaitBuilt(log, begin)
	err = errors.Join(err, end())
	_, _ = io.Copy(io.Discard, log)
	_ = cmd.Wait() // a guest that came to nothing is its error
	return took, steps, err
}

// duration is an attribute of the log that has a duration.
var duration = regexp.MustCompile(`(\w+)=([0-9.]+[nµm]?s)\b`)

func awaitBuilt(log io.Reader, begin time.Time) (took time.Duration, steps []step, err error) {
	var text strings.Builder
	var known time.Duration
	for lines := bufio.NewScanner(log); lines.Scan(); {
		line := lines.Text()
		text.WriteString(line + "\n")
		for _, match := range duration.FindAllStringSubmatch(line, -1) {
			d, err := time.ParseDuration(match[2])
			if err != nil {
				return 0, nil, err
			}
			steps = append(steps, step{match[1], d})
			known += d
		}
		if strings.Contains(line, builtMessage) {
			took = time.Since(begin)
			return took, append([]step{{"process", took - known}}, steps...), nil
		}
	}
	return 0, nil, fmt.Errorf("the machine was not built:\n%s", cmp.Or(text.String(), "no log"))
}
