//go:build kvm

package kvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// do runs a holt command that must succeed, and returns what it printed.
func do(t *testing.T, args ...string) string {
	t.Helper()
	r := vmtest.Run(t, args...)
	if r.Code != 0 {
		t.Fatalf("holt %q: exit status %d, printed %q; %s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// dont runs a holt command that must fail with a status and an error with a text.
func dont(t *testing.T, status int, text string, args ...string) {
	t.Helper()
	if r := vmtest.Run(t, args...); r.Code != status || !strings.Contains(r.Stderr, text) {
		t.Errorf("holt %q: exit status %d, want %d; no %q in %q", args, r.Code, status, text, r.Stderr)
	}
}

// counter is a main program that prints a number now and then, and takes input.
const counter = `n=0; while :; do n=$((n+1)); echo "n $n"; if read -t 1 line; then echo "got $line"; [ "$line" = end ] && exit 7; fi; done`

// TestSnapshotCommands goes through the life of snapshots on the command line.
func TestSnapshotCommands(t *testing.T) {
	vmtest.Home(t)
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "who"), []byte("first\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	do(t, "run", "-d", "-i", "--name", "web", "-m", "128M", "-v", shared+":/shared", "-p", "127.0.0.1:18080:80", "--", "sh", "-c", counter)
	do(t, "exec", "web", "--", "sh", "-c", "echo remembered > /tmp/note; cat /shared/who")
	if name := strings.TrimSpace(do(t, "snapshot", "create", "web", "one")); name != "one" {
		t.Errorf("snapshot create printed %q", name)
	}
	dont(t, 125, `the name "one" is in use`, "snapshot", "create", "web", "one")
	dont(t, 125, "cannot snapshot VM web: it is stopped", append(stopped(t, "web"), "snapshot", "create", "web")...)
	do(t, "snapshot", "verify", "one")
	if list := do(t, "snapshot", "ls"); !strings.Contains(list, "one") || !strings.Contains(list, "web") {
		t.Errorf("snapshot ls shows %q", list)
	}

	// A command in a VM that goes on, three ways.
	if out := do(t, "restore", "one", "--", "cat", "/tmp/note", "/shared/who"); out != "remembered\nfirst\n" {
		t.Errorf("restore printed %q", out)
	}
	if out := do(t, "run", "--snapshot", "one", "--", "cat", "/tmp/note"); out != "remembered\n" {
		t.Errorf("run --snapshot printed %q", out)
	}
	dont(t, 3, "", "restore", "one", "--", "sh", "-c", "exit 3")

	// Its main program, with its input.
	r := vmtest.Command{Args: []string{"restore", "-i", "one"}, Stdin: strings.NewReader("hello\nend\n")}.Run(t)
	if r.Code != 7 || !strings.Contains(r.Stdout, "got hello\n") || strings.Contains(r.Stdout, "n 1\n") {
		t.Errorf("the main program that went on: exit status %d, printed %q; %s", r.Code, r.Stdout, r.Stderr)
	}

	// Another directory, and other ports, in a VM that stays.
	moved := t.TempDir()
	if err := os.WriteFile(filepath.Join(moved, "who"), []byte("second\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	do(t, "restore", "-d", "--name", "again", "-v", moved+":/shared", "-p", "none", "one")
	// What the guest knows of a file it believes for a moment.
	if out := do(t, "exec", "again", "--", "sh", "-c", "hostname; sleep 2; cat /shared/who"); out != "again\nsecond\n" {
		t.Errorf("the restored VM says %q", out)
	}
	do(t, "restore", "-d", "--name", "port", "one")
	dont(t, 125, "18080", "restore", "one", "--", "true")
	dont(t, 125, "has none at", "restore", "-v", moved+":/nowhere", "one", "--", "true")
	dont(t, 125, "no such snapshot", "restore", "two", "--", "true")
	do(t, "rm", "-f", "again", "port")

	// An archive, elsewhere.
	archive := filepath.Join(t.TempDir(), "one.holt")
	do(t, "snapshot", "export", "one", archive)
	do(t, "snapshot", "rm", "one")
	dont(t, 125, "no such snapshot", "restore", "one", "--", "true")
	do(t, "snapshot", "import", "--name", "two", archive)
	dont(t, 125, "it was imported, and would share", "restore", "two", "--", "true")
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	if out := do(t, "restore", "-v", dirs.BaseRoot()+":/", "-v", shared+":/shared", "two", "--", "cat", "/tmp/note"); out != "remembered\n" {
		t.Errorf("the imported one printed %q", out)
	}
}

// TestSnapshotDocs runs the commands of the page about all this.
func TestSnapshotDocs(t *testing.T) {
	vmtest.Home(t)
	page, err := os.ReadFile(filepath.Join(vmtest.Repo(t), "docs", "snapshots.md"))
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(vmtest.Holt(t), filepath.Join(bin, "holt")); err != nil {
		t.Fatal(err)
	}
	vmtest.CheckPage(t, string(page), t.TempDir(), []string{"PATH=" + bin + ":" + os.Getenv("PATH")})
}

// stopped stops a VM, and returns nothing for a command line.
func stopped(t *testing.T, name string) []string {
	t.Helper()
	do(t, "kill", name)
	return nil
}

// TestSnapshotDifferences saves what changed, again and again, and restores each state.
func TestSnapshotDifferences(t *testing.T) {
	vmtest.Home(t)
	vm := sleeper(t, 128)
	sizes := map[string]int64{}
	names := []string{"d0", "d1", "d2", "d3"}
	for i, name := range names {
		run(t, vm, fmt.Sprintf("echo %d > /tmp/step; head -c 500000 /dev/urandom > /tmp/random-%d; sha256sum /tmp/random-* > /tmp/sums", i, i))
		s, err := vm.Snapshot(t.Context(), name, holt.Differential())
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info()
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = info.DiskBytes
		if whole := info.Parent == ""; whole != (i == 0) {
			t.Errorf("%s: parent %q", name, info.Parent)
		}
	}
	t.Logf("sizes: %v", sizes)
	if sizes["d2"] > sizes["d0"]/2 {
		t.Errorf("a differential snapshot has %d bytes, the whole one %d", sizes["d2"], sizes["d0"])
	}
	for i, name := range names {
		clone, err := holt.Restore(t.Context(), name, holt.WithBinary(vmtest.Holt(t)))
		if err != nil {
			t.Fatal(err)
		}
		if step := run(t, clone, "sha256sum -c /tmp/sums >&2 && cat /tmp/step"); step != fmt.Sprintln(i) {
			t.Errorf("%s goes on at step %q", name, step)
		}
		kill(t, []*holt.VM{clone})
	}
	s, err := holt.OpenSnapshot(t.Context(), "d1")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context()); err == nil || !strings.Contains(err.Error(), "d2") {
		t.Errorf("a parent was removed: %v", err)
	}
	// A whole one from a chain needs nothing else.
	last, err := holt.OpenSnapshot(t.Context(), "d3")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := last.Export(t.Context(), &archive, true); err != nil {
		t.Fatal(err)
	}
	t.Logf("the archive has %d bytes", archive.Len())
	if _, err := holt.ImportSnapshot(t.Context(), &archive, "flat"); err != nil {
		t.Fatal(err)
	}
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	clone, err := holt.Restore(t.Context(), "flat", holt.WithBinary(vmtest.Holt(t)), holt.ReplaceDir(dirs.BaseRoot(), "/"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, clone, "sha256sum -c /tmp/sums >&2")
	kill(t, []*holt.VM{clone, vm})
}

// sleeper starts a VM with the small root whose program does nothing.
func sleeper(t *testing.T, memory uint32) *holt.VM {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	return sleeperIn(t, dirs.BaseRoot(), memory)
}

// sleeperIn is sleeper with another root.
func sleeperIn(t *testing.T, root string, memory uint32) *holt.VM {
	t.Helper()
	cfg := holt.DefaultConfig()
	cfg.MemoryMB, cfg.RootPath, cfg.RootOverlay = memory, root, true
	cfg.ExecPath, cfg.Args = "sleep", []string{"1000000"}
	vm, err := holt.New(cfg, holt.WithBackend("kvm"), holt.WithBinary(vmtest.Holt(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vm.Kill() })
	return vm
}

// TestSnapshotOfAPausedVM: one that somebody stopped stays stopped, and its copies run.
func TestSnapshotOfAPausedVM(t *testing.T) {
	vmtest.Home(t)
	vm := sleeper(t, 128)
	run(t, vm, "echo here > /tmp/note")
	if err := vm.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if _, err := vm.Snapshot(t.Context(), "paused"); err != nil {
		t.Fatal(err)
	}
	info, err := vm.Info(t.Context())
	if err != nil || info.State != holt.StatePaused {
		t.Errorf("the VM is %s, %v", info.State, err)
	}
	clone, err := holt.Restore(t.Context(), "paused", holt.WithBinary(vmtest.Holt(t)))
	if err != nil {
		t.Fatal(err)
	}
	if out := run(t, clone, "cat /tmp/note"); out != "here\n" {
		t.Errorf("the clone says %q", out)
	}
	if err := vm.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, vm, "true")
	kill(t, []*holt.VM{clone, vm})
}

// TestSnapshotKilled: whoever is killed while a VM is saved, the snapshot is whole or
// not there, and the VM goes on if its monitor does.
func TestSnapshotKilled(t *testing.T) {
	dirs := vmtest.Home(t)
	vm := sleeper(t, 128)
	info, err := vm.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// How long one takes tells when to kill the next ones.
	begin := time.Now()
	do(t, "snapshot", "create", info.ID, "whole")
	took := time.Since(begin)
	rounds := vmtest.Times(40, 6)
	for i := range rounds {
		p := vmtest.Start(t, "snapshot", "create", info.ID, fmt.Sprint("s", i))
		time.Sleep(took * time.Duration(i+1) / time.Duration(rounds))
		_ = p.Cmd.Process.Signal(syscall.SIGKILL)
		p.Wait(t)
		run(t, vm, "true")
	}
	// The last time it is the monitor that is killed.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	saved := make(chan error, 1)
	go func() {
		_, err := vm.Snapshot(ctx, "last")
		saved <- err
	}()
	time.Sleep(took / 3)
	vmtest.KillProcess(t, info.MonitorPID)
	select {
	case err := <-saved:
		t.Logf("saving a VM whose monitor is killed: %v", err)
	case <-time.After(20 * time.Second):
		t.Error("saving a VM whose monitor was killed does not end")
	}
	all, err := holt.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		i, err := s.Info()
		if err := errors.Join(err, s.Verify(t.Context())); err != nil {
			t.Errorf("%s: %v", i.Name, err)
		}
		names = append(names, i.Name)
	}
	t.Logf("of %d, these are whole: %q", rounds+2, names)
	clone, err := holt.Restore(t.Context(), names[len(names)-1], holt.WithBinary(vmtest.Holt(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clone.Snapshot(t.Context(), "sweeps"); err != nil {
		t.Fatal(err)
	}
	kill(t, []*holt.VM{clone})
	left, err := filepath.Glob(filepath.Join(dirs.Data, "snapshots", ".*"))
	if err != nil || len(left) > 1 { // the lock of the names
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestWarm: the second run of a program in the same machine goes on from a template.
func TestWarm(t *testing.T) {
	dirs := vmtest.Home(t)
	// Not this user's templates.
	if err := errors.Join(os.Remove(dirs.Cache), os.Mkdir(dirs.Cache, 0o700)); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "--backend", "kvm", "--warm", "-m", "128M"}
	var boots []string
	for i, line := range []string{"cat /proc/sys/kernel/random/boot_id; exit 4", "cat /proc/sys/kernel/random/boot_id; exit 5", "cat /proc/sys/kernel/random/boot_id; exit 6"} {
		r := vmtest.Run(t, append(args, "--", "sh", "-c", line)...)
		if r.Code != 4+i || r.Stderr != "" {
			t.Errorf("run %d: exit status %d, %q", i, r.Code, r.Stderr)
		}
		t.Logf("run %d took %v", i, r.Time)
		boots = append(boots, r.Stdout)
	}
	if boots[0] == boots[1] || boots[1] == boots[2] {
		t.Errorf("two runs have the same boot: %q", boots)
	}
	templates, err := filepath.Glob(filepath.Join(dirs.Cache, "templates", "[0-9a-f]*"))
	if err != nil || len(templates) != 1 {
		t.Errorf("the templates are %q, %v", templates, err)
	}
	r := vmtest.Command{Args: append(args, "-i", "-e", "WHO=me", "-w", "/tmp", "--", "sh", "-c", "cat; echo $WHO; pwd"), Stdin: strings.NewReader("input\n")}.Run(t)
	if r.Code != 0 || r.Stdout != "input\nme\n/tmp\n" {
		t.Errorf("exit status %d, printed %q; %s", r.Code, r.Stdout, r.Stderr)
	}
	dont(t, 127, "not found", append(args, "--", "nothing-of-the-kind")...)
	vmtest.NothingLeft(t)
}

// TestPool: many users, few VMs, and no VM for two.
func TestPool(t *testing.T) {
	vmtest.Home(t)
	const users = 8
	vm := sleeper(t, 128)
	if _, err := vm.Snapshot(t.Context(), "pooled"); err != nil {
		t.Fatal(err)
	}
	kill(t, []*holt.VM{vm})
	pool, err := holt.NewPool(t.Context(), holt.PoolConfig{
		Min: 2, Max: 6, From: holt.PoolSnapshot("pooled"), Options: []holt.Option{holt.WithBinary(vmtest.Holt(t))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	rounds := vmtest.Times(10000, 24)
	work := make(chan int)
	results := make(chan error, users)
	for range users {
		go func() {
			var errs []error
			for n := range work {
				errs = append(errs, useOnce(t.Context(), pool, n))
			}
			results <- errors.Join(errs...)
		}()
	}
	begin := time.Now()
	for n := range rounds {
		work <- n
	}
	close(work)
	for range users {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	s := pool.Stats()
	text, _ := json.Marshal(s)
	t.Logf("%d rounds in %v: %s", rounds, time.Since(begin), text)
	if s.Hits+s.Misses != uint64(rounds) || s.InUse != 0 || s.Released != uint64(rounds) {
		t.Error("the statistics do not add up")
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	if s := pool.Stats(); s.Idle != 0 || s.Created != s.Destroyed {
		t.Errorf("after the end: %+v", s)
	}
}

// useOnce uses a VM of the pool as one who expects it to be his alone, and new.
func useOnce(ctx context.Context, pool *holt.Pool, n int) error {
	vm, err := pool.Acquire(ctx)
	if err != nil {
		return err
	}
	line := fmt.Sprintf("test ! -e /tmp/used && echo %d > /tmp/used && sleep 0.1 && cat /tmp/used", n)
	out, err := vm.Exec(ctx, holt.Command{Path: "sh", Args: []string{"-c", line}}).Output()
	if err == nil && string(out) != fmt.Sprintln(n) {
		err = fmt.Errorf("round %d reads %q", n, out)
	}
	return errors.Join(err, pool.Release(vm))
}

// TestPoolCommands uses a pool of another process.
func TestPoolCommands(t *testing.T) {
	vmtest.Home(t)
	p := vmtest.Start(t, "pool", "start", "busy", "--min", "1", "--max", "2", "-m", "128M", "--backend", "kvm", "--", "sleep", "1000000")
	vmtest.WaitFor(t, func() bool { return strings.Contains(do(t, "pool", "ls"), "busy") }, func() string { return "the pool does not come up" })
	for i := range 3 {
		if out := do(t, "pool", "exec", "busy", "--", "sh", "-c", "test ! -e /tmp/used && touch /tmp/used && echo fresh"); out != "fresh\n" {
			t.Errorf("use %d: %q", i, out)
		}
	}
	dont(t, 9, "", "pool", "exec", "busy", "--", "sh", "-c", "exit 9")
	dont(t, 125, "idle", "pool", "exec", "idle", "--", "true")
	do(t, "pool", "stop", "busy")
	p.Wait(t)
	vmtest.NothingLeft(t)
}

// TestSnapshotNeedsKVM: what cannot be saved says so before it is booted, or at once.
func TestSnapshotNeedsKVM(t *testing.T) {
	vmtest.Home(t)
	dont(t, 125, "kvm backend", "run", "--backend", "qemu", "--warm", "--", "true")
	do(t, "run", "-d", "--backend", "qemu", "--name", "emulated", "--", "sleep", "1000")
	dont(t, 125, "the qemu backend cannot save a VM", "snapshot", "create", "emulated")
	dont(t, 125, "the qemu backend cannot save a VM", "fork", "emulated")
	do(t, "exec", "emulated", "--", "true")
}
