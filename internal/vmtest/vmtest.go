// Package vmtest helps tests that boot guests: it runs the built holt binary,
// provides a Debian root, carries a test's inner half into the guest, and checks
// that nothing is left behind.
//
// It is imported by tests only.
package vmtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

// Timeout bounds one command in a test; a guest that hangs fails the test.
const Timeout = 3 * time.Minute

// Repo is the repository's root.
func Repo(t testing.TB) string {
	t.Helper()
	dir, err := FindRepo()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// FindRepo returns the repository's root, for a working directory in it.
func FindRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the repository: no go.mod here or above")
		}
	}
}

// Holt is the holt binary under test: HOLT_BIN, or what `make build` made.
func Holt(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HOLT_BIN")
	if path == "" {
		path = filepath.Join(Repo(t), "bin", "holt")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no holt binary to test (run `make build`, or set HOLT_BIN): %v", err)
	}
	return path
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int // exit status; -1 when a signal ended the command
	Time           time.Duration
}

// Command runs holt.
type Command struct {
	Args  []string
	Stdin io.Reader
	Env   []string // added to the test's own
	Dir   string
	Netns string // name of the network namespace to run in; "" is this one
}

// Run runs holt with args to its end.
func Run(t testing.TB, args ...string) Result {
	t.Helper()
	return Command{Args: args}.Run(t)
}

// Run runs the command to its end.
func (c Command) Run(t testing.TB) Result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := c.Exec(t)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	r := Result{out.String(), errs.String(), cmd.ProcessState.ExitCode(), time.Since(start)}
	if err != nil && cmd.ProcessState == nil {
		t.Fatalf("%v: %v", c.Args, err)
	}
	return r
}

// Exec prepares the command; it is killed when the test's time is up.
func (c Command) Exec(t testing.TB) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	t.Cleanup(cancel)
	args := append([]string{Holt(t)}, c.Args...)
	if c.Netns != "" {
		args = append(enter(c.Netns), args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = c.Stdin
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), runID(t)), c.Env...)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// Want fails the test unless the command ended with code and printed stdout.
func (r Result) Want(t testing.TB, code int, stdout string) {
	t.Helper()
	if r.Code != code || r.Stdout != stdout {
		t.Fatalf("exit status %d, want %d; printed %.500q, want %.500q; standard error:\n%s", r.Code, code, r.Stdout, stdout, r.Stderr)
	}
}

// ModularKernel is the image and the release of a kernel whose virtio drivers are
// modules, as a distribution's are.
func ModularKernel(t testing.TB) (image, release string) {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	all, err := kernel.Open(dirs).List()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range all {
		if k.Has("core") {
			return k.ImagePath(), k.Version
		}
	}
	t.Fatal("no kernel with modules (run `holt kernel fetch`)")
	return "", ""
}
