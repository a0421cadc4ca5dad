package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// insideCommand makes this program do the work that its argument describes,
	// and write each round to standard output as a line of JSON.
	insideCommand = "inside"
	// heartbeat is how often it writes an empty line besides, to show that the
	// machine it runs on goes on.
	heartbeat = time.Second
)

// inside is the program in an outer VM.
func inside(ctx context.Context, argument string) error {
	var w kvmWork
	if err := json.Unmarshal([]byte(argument), &w); err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "holt-bench-home-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	var mu sync.Mutex
	say := func(line []byte) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Printf("%s\n", line)
		return err
	}
	go func() {
		for range time.Tick(heartbeat) {
			_ = say(nil)
		}
	}()
	return measureInside(ctx, w, home, func(r round) error {
		line, err := json.Marshal(r)
		return errors.Join(err, say(line))
	})
}

// measureInside measures where KVM works. home is an empty or missing directory
// for Holt's files; done gets each round.
func measureInside(ctx context.Context, w kvmWork, home string, done func(round) error) error {
	t := &turns{kvmWork: w, home: home}
	if err := t.prepare(); err != nil {
		return err
	}
	all, err := t.all(ctx)
	if err != nil {
		return err
	}
	warmUp := 1 // fills caches and does not count
	if w.Cold {
		warmUp = 0
	}
	for i := range warmUp + w.Rounds {
		r := round{}
		for _, one := range all {
			f, err := t.limited(ctx, one.take)
			if err != nil {
				return fmt.Errorf("%s: %w", one.name, err)
			}
			if f != nil {
				progress("%s %d/%d  %s  %s", w.name(), i+1-warmUp, w.Rounds, f, one.name)
				r[one.name] = f
			}
		}
		slices.Reverse(all) // nobody always comes after the same
		if i >= warmUp {
			if err := done(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn is what one contender does in a round. One that does not take part has no
// figures.
type turn struct {
	name string
	take func(context.Context) (figures, error)
}

// turns takes the contenders' turns.
type turns struct {
	kvmWork
	home string
	shim string // see writeShim
	self string
}

// all are the turns of a round.
func (t *turns) all(ctx context.Context) (all []turn, err error) {
	for _, benchmark := range t.Benchmarks {
		if benchmark == clonesName {
			clones, err := t.clones(ctx)
			if err != nil {
				return nil, fmt.Errorf("save guests: %w", err)
			}
			all = append(all, clones...)
			continue
		}
		measure := map[string]func(context.Context, *kvmSide) (figures, error){
			"kvm-start": t.start, "kvm-exits": t.exits, "kvm-memory": t.memory, "kvm-idle": t.idle,
		}[benchmark]
		for _, c := range t.sides() {
			all = append(all, turn{c.name, func(ctx context.Context) (figures, error) { return measure(ctx, c) }})
		}
	}
	return all, nil
}

func (t *turns) prepare() (err error) {
	if t.self, err = os.Executable(); err != nil {
		return err
	}
	// A home of our own, so that nothing depends on what the cache had, with the
	// user's kernels.
	if err := os.MkdirAll(filepath.Join(t.home, "data"), 0o700); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(t.Data, "kernels"), filepath.Join(t.home, "data", "kernels")); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Setenv("HOLT_HOME", t.home); err != nil {
		return err
	}
	// Holt makes the directories in it that it mounts on.
	root := filepath.Join(t.home, "root")
	if err := os.CopyFS(root, os.DirFS(t.Root)); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	t.Root = root
	t.shim, err = writeShim(t.home)
	return err
}

// limited is a turn that takes startTimeout at most, on a machine as it was before
// the last.
func (t *turns) limited(ctx context.Context, take func(context.Context) (figures, error)) (figures, error) {
	if t.Outer {
		if err := scrub(); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return take(ctx)
}

// start measures a side's time, in ms.
func (t *turns) start(ctx context.Context, c *kvmSide) (figures, error) {
	cmd := c.command("")
	begin := time.Now()
	var took time.Duration
	err := greeted(ctx, cmd, func(io.Reader) error {
		took = time.Since(begin)
		return cmd.Process.Signal(c.end)
	})
	return figures{"time": milliseconds(took)}, err
}

// memory measures what a side's processes take while its guest is idle.
func (t *turns) memory(ctx context.Context, c *kvmSide) (f figures, err error) {
	if c.name != holtRun && c.name != qemuMachine {
		return nil, nil
	}
	cmd := c.command("idle")
	err = greeted(ctx, cmd, func(io.Reader) (err error) {
		time.Sleep(settle)
		f, err = c.memory(cmd.Process.Pid)
		return errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
	})
	return f, err
}

// String tells the figures on a line.
func (f figures) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		parts = append(parts, fmt.Sprintf("%s %.4g", name, f[name]))
	}
	return strings.Join(parts, ", ")
}
