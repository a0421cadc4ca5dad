//go:build tcg

package tcg

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/vmtest"
)

func TestExitStatus(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() { vmtest.NothingLeft(t) })
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string // must be part of standard error
	}{
		{"success", []string{"run", "--", "echo", "hello"}, 0, "hello\n", ""},
		{"program's own", []string{"run", "--", "sh", "-c", "exit 42"}, 42, "", ""},
		{"not found", []string{"run", "--", "no-such-program"}, 127, "", "no-such-program"},
		{"not found, with a path", []string{"run", "--", "/no/such/program"}, 127, "", "/no/such/program"},
		{"not executable", []string{"run", "--", "/etc/passwd"}, 126, "", "/etc/passwd"},
		{"a directory", []string{"run", "--", "/etc"}, 126, "", "/etc"},
		{"segmentation fault", []string{"run", "--", "sh", "-c", "kill -SEGV $$"}, 139, "", ""},
		{"timeout", []string{"run", "--timeout", "8s", "--", "sh", "-c", "echo up; sleep 600"}, 124, "up\n", "--timeout 8s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := vmtest.Run(t, c.args...)
			r.Want(t, c.code, c.stdout)
			if !strings.Contains(r.Stderr, c.stderr) {
				t.Errorf("standard error %q does not speak of %q", r.Stderr, c.stderr)
			}
			if c.stderr == "" && r.Stderr != "" {
				t.Errorf("standard error %q, want none", r.Stderr)
			}
		})
	}
}

// TestSignals: a signal for holt is one for the guest's program.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		name   string
		script string
		signal syscall.Signal
		code   int
		last   string
	}{
		{"SIGTERM", "echo up; exec sleep 600", syscall.SIGTERM, 143, ""},
		{"SIGINT, handled", "trap 'echo bye; exit 7' INT; echo up; while :; do sleep 0.1; done", syscall.SIGINT, 7, "bye\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := vmtest.Start(t, "run", "--", "sh", "-c", c.script)
			p.WaitOutput(t, "up\n")
			start := time.Now()
			if err := p.Cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			r := p.Wait(t)
			r.Want(t, c.code, "up\n"+c.last)
			t.Logf("ended after %v", time.Since(start).Round(time.Millisecond))
			if d := time.Since(start); d > 5*time.Second { // a second on an idle machine; this one may not be
				t.Errorf("the guest took %v to end", d)
			}
		})
	}
	vmtest.NothingLeft(t)
}

// TestInterruptDuringBoot: Ctrl-C works before the program runs, too.
func TestInterruptDuringBoot(t *testing.T) {
	p := vmtest.Start(t, "run", "--", "echo", "never")
	time.Sleep(300 * time.Millisecond)
	if err := p.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if r := p.Wait(t); r.Code != 130 || r.Stdout != "" || time.Since(start) > 3*time.Second {
		t.Errorf("exit status %d after %v, printed %q, %q", r.Code, time.Since(start), r.Stdout, r.Stderr)
	}
	vmtest.NothingLeft(t)
}

// TestImpatientInterrupts: a program that ignores SIGINT is ended by the third.
func TestImpatientInterrupts(t *testing.T) {
	p := vmtest.Start(t, "run", "--", "sh", "-c", "trap '' INT; echo up; while :; do sleep 0.1; done")
	p.WaitOutput(t, "up\n")
	for range 3 {
		if err := p.Cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if r := p.Wait(t); r.Code != 137 || !strings.Contains(r.Stderr, "killing the VM") {
		t.Errorf("exit status %d, %q", r.Code, r.Stderr)
	}
	vmtest.NothingLeft(t)
}

func TestManyAtOnce(t *testing.T) {
	const n = 20
	type end struct {
		i int
		r vmtest.Result
	}
	ends := make(chan end)
	for i := range n {
		go func() {
			word := strings.Repeat(string(rune('a'+i)), 10)
			ends <- end{i, vmtest.Run(t, "run", "-m", "128", "--", "sh", "-c", "echo "+word+"; echo "+word+" >&2; exit "+strings.Repeat("1", 1+i%2))}
		}()
	}
	for range n {
		e := <-ends
		word := strings.Repeat(string(rune('a'+e.i)), 10) + "\n"
		code := []int{1, 11}[e.i%2]
		if e.r.Code != code || e.r.Stdout != word || e.r.Stderr != word {
			t.Errorf("VM %d: exit status %d, printed %q and %q", e.i, e.r.Code, e.r.Stdout, e.r.Stderr)
		}
	}
	vmtest.NothingLeft(t)
}
