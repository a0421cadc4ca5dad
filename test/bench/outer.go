package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

const (
	outerMemory = "4G"
	// outerPatience is for how long an outer VM may be silent: its boot takes
	// some seconds, and from then on it has a heartbeat.
	outerPatience = 30 * time.Second
	// outerTries is how many outer VMs may be used up for a benchmark. Under
	// emulation, once in a long while a processor halts and nothing wakes it.
	outerTries = 3
)

// errSilent says that an outer VM did not go on.
var errSilent = fmt.Errorf("the outer VM was silent for %v", outerPatience)

// outerRounds has the rounds run in an outer VM: a guest of Holt's qemu backend,
// whose emulated processor has AMD SVM and whose kernel a /dev/kvm. It sees this
// host's files at the same paths. What it cannot finish, another one does.
func (b *bench) outerRounds(ctx context.Context, w kvmWork) (rounds roundList, err error) {
	self, err := b.copySelf()
	if err != nil {
		return nil, err
	}
	w.Outer = true
	n := w.Rounds
	for try := 1; len(rounds) < n; try++ {
		w.Rounds = n - len(rounds)
		progress("%s: in an outer VM; here, %s", w.name(), b.kvm.Detail)
		some, err := b.outerRun(ctx, self, w)
		rounds = append(rounds, some...)
		switch {
		case errors.Is(err, errSilent) && try < outerTries:
			progress("%s: %v", w.name(), err)
		case err != nil:
			return nil, err
		case len(rounds) < n:
			return nil, fmt.Errorf("the outer VM ended after %d of %d rounds", len(rounds), n)
		}
	}
	return rounds, nil
}

// copySelf puts this program where an outer VM sees it.
func (b *bench) copySelf() (string, error) {
	path := filepath.Join(b.temp, "bench")
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, program, 0o755)
}

// outerRun returns the rounds that an outer VM finished, and why no more.
func (b *bench) outerRun(ctx context.Context, self string, w kvmWork) (rounds roundList, err error) {
	argument, err := json.Marshal(w)
	if err != nil {
		return nil, err
	}
	args := append(vmtest.OuterVM(outerMemory, b.temp, filepath.Dir(w.Holt), w.Data), "-e", "PATH", "-w", "/")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, w.Holt, append(args, "--", self, insideCommand, string(argument))...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	patience := time.AfterFunc(outerPatience, func() { cancel(errSilent) })
	defer patience.Stop()
	rounds, err = readRounds(out, func() { patience.Reset(outerPatience) })
	werr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return rounds, context.Cause(ctx)
	case werr != nil:
		return rounds, werr
	}
	return rounds, err
}

// readRounds reads what the program inside writes, and calls alive at each line.
func readRounds(r io.Reader, alive func()) (rounds roundList, err error) {
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return rounds, lines.Err()
		}
		alive()
		if len(lines.Bytes()) == 0 {
			continue
		}
		var one round
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return rounds, fmt.Errorf("a line of the outer VM: %q: %w", lines.Text(), err)
		}
		rounds = append(rounds, one)
	}
}
