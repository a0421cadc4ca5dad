//go:build tcg

package tcg

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

// waiter is a holt command that waits for something of a VM.
type waiter struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended, at the time at

	at time.Time

	mu   sync.Mutex
	n    int64  // bytes that it printed
	last []byte // the end of them
}

// Write takes what the command prints, errors and all.
func (w *waiter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n += int64(len(p))
	w.last = append(w.last, p...)
	if most := 2 << 10; len(w.last) > most {
		w.last = w.last[len(w.last)-most:]
	}
	return len(p), nil
}

func (w *waiter) printed() (n int64, last string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n, string(w.last)
}

// await starts a command and returns when it has printed something.
func await(t *testing.T, silent bool, args ...string) *waiter {
	t.Helper()
	w := &waiter{cmd: vmtest.Command{Args: args}.Exec(t), ended: make(chan struct{})}
	w.cmd.Stdout, w.cmd.Stderr = w, w
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shown := make(chan struct{})
	close(shown) // with the command's own Wait
	w.follow(t, silent, shown)
	return w
}

// awaitShell is await of a shell in a terminal.
func awaitShell(t *testing.T, name string) *waiter {
	t.Helper()
	w := &waiter{cmd: vmtest.Command{Args: []string{"shell", name}}.Exec(t), ended: make(chan struct{})}
	tty, err := pty.Start(w.cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(w, tty) // until nobody has the terminal any more
	}()
	w.follow(t, false, shown)
	return w
}

// follow notes the command's end, after that of what it shows.
func (w *waiter) follow(t *testing.T, silent bool, shown <-chan struct{}) {
	t.Helper()
	go func() {
		defer close(w.ended)
		_ = w.cmd.Wait()
		w.at = time.Now()
		<-shown
	}()
	if !silent {
		vmtest.WaitFor(t, func() bool { n, _ := w.printed(); return n > 0 },
			func() string { return fmt.Sprintf("holt %q prints nothing", w.cmd.Args[1:]) })
	}
}

// waiters are all the ways to wait for something of a VM whose program prints
// something again and again, as commands that do.
func waiters(t *testing.T, name string) []*waiter {
	t.Helper()
	do(t, "exec", name, "sh", "-c", "mkdir /tmp/watched; truncate -s 100G /tmp/big")
	watch := await(t, true, "watch", name+":/tmp/watched")
	all := []*waiter{
		await(t, true, "wait", name),
		await(t, false, "exec", name, "sh", "-c", "echo in; sleep 600"),
		await(t, false, "exec", name, "yes"),
		await(t, false, "attach", name),
		awaitShell(t, name),
		await(t, false, "cat", name+":/tmp/big"),
		await(t, false, "logs", "-f", name),
		await(t, false, "stats", "--json", "--interval", "200ms", name),
		watch,
	}
	for i := 0; ; i++ { // until the watch sees what happens
		do(t, "exec", name, "touch", fmt.Sprintf("/tmp/watched/%d", i))
		if n, _ := watch.printed(); n > 0 {
			return all
		}
	}
}

// wantAllToKnow fails the test unless all have ended soon after begin and, those whose
// matter the VM's end is, have said all of these texts.
func wantAllToKnow(t *testing.T, all []*waiter, begin time.Time, says ...string) {
	t.Helper()
	for _, w := range all {
		what := strings.Join(w.cmd.Args[1:], " ")
		select {
		case <-w.ended:
		case <-time.After(time.Until(begin.Add(30 * time.Second))):
			t.Errorf("holt %s waits for ever", what)
			continue
		}
		took, code := w.at.Sub(begin), w.cmd.ProcessState.ExitCode()
		if took > deathTime() {
			t.Errorf("holt %s ended after %v", what, took)
		}
		t.Logf("holt %s ended after %v with %d", what, took.Round(time.Millisecond), code)
		switch w.cmd.Args[1] {
		case "logs", "stats": // they show what there is, and are done
			if code != 0 {
				_, last := w.printed()
				t.Errorf("holt %s: exit status %d, %q", what, code, last)
			}
			continue
		case "wait": // prints the status
			code = holt.StatusHoltFailed
		}
		_, last := w.printed()
		for _, text := range says {
			if code != holt.StatusHoltFailed || !strings.Contains(last, text) {
				t.Errorf("holt %s: exit status %d; no %q in %q", what, code, text, strings.TrimLeft(last, "\x00"))
			}
		}
	}
}
