package holt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/state"
)

func TestExecEnds(t *testing.T) {
	g := newFakeGuest(t)
	for _, tt := range []struct {
		path   string
		out    string
		status int
		check  func(error) bool
	}{
		{"both", "out\n", 0, func(err error) bool { return err == nil }},
		{"fail", "a b", 3, func(err error) bool {
			exit, ok := errors.AsType[*ExitError](err)
			return ok && string(exit.Stderr) == "what went wrong"
		}},
		{"slow", "", StatusTimeout, func(err error) bool { return errors.Is(err, ErrTimeout) }},
		{"missing", "", StatusNotFound, func(err error) bool { return errors.Is(err, ErrProgramNotFound) }},
		{"plain", "", StatusNotExecutable, func(err error) bool { return errors.Is(err, ErrProgramNotExecutable) }},
		{"", "", StatusHoltFailed, func(err error) bool { return strings.Contains(err.Error(), "path") }},
	} {
		out, err := g.vm.Command(t.Context(), tt.path, "a", "b").Output()
		if string(out) != tt.out || ExitStatus(err) != tt.status || !tt.check(err) {
			t.Errorf("%s: %q, %v", tt.path, out, err)
		}
	}
	if out, err := g.vm.Command(t.Context(), "both").CombinedOutput(); string(out) != "out\nerr\n" || err != nil {
		t.Errorf("combined: %q, %v", out, err)
	}
}

// TestExecSpec: the agent is asked for what the Command says.
func TestExecSpec(t *testing.T) {
	g := newFakeGuest(t)
	c := Command{
		Path: "spec", Args: []string{"a"}, Env: []string{"K=V"}, Dir: "/srv", User: "nobody", Timeout: 1500 * time.Microsecond,
		Rlimits: []Rlimit{{RlimitNoFile, 10, RlimInfinity}}, OpenStdin: true,
	}
	want := agentproto.Program{
		Path: "spec", Args: []string{"a"}, Env: []string{"K=V"}, Cwd: "/srv", User: "nobody", TimeoutMS: 2,
		Rlimits: []agentproto.Rlimit{{Resource: 7, Soft: 10, Hard: 1<<64 - 1}}, Stdin: true,
	}
	check := func(cmd *Cmd) {
		t.Helper()
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		var got agentproto.Program
		if err := json.Unmarshal(<-g.specs, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: got %+v, want %+v", err, got, want)
		}
	}
	check(g.vm.Exec(t.Context(), c))
	want.Login, want.TTY, want.Window = true, true, agentproto.WindowSize{Rows: 24, Cols: 80}
	check(g.vm.Shell(t.Context(), c))
	want.Window.Rows, c.Terminal = 9, &WindowSize{9, 80}
	check(g.vm.Shell(t.Context(), c))
}

func TestExecStreams(t *testing.T) {
	g := newFakeGuest(t)
	t.Run("stdin", func(t *testing.T) {
		c := g.vm.Command(t.Context(), "cat")
		text := strings.Repeat("0123456789", 1<<17) // more than the window
		c.Stdin = strings.NewReader(text)
		if out, err := c.Output(); string(out) != text || err != nil {
			t.Errorf("%d bytes of %d, %v", len(out), len(text), err)
		}
	})
	t.Run("pipes", func(t *testing.T) {
		c := g.vm.Command(t.Context(), "cat")
		in, err1 := c.StdinPipe()
		out, err2 := c.StdoutPipe()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { // also before Start, as with os/exec
			_, err := io.WriteString(in, "hello")
			done <- errors.Join(err, in.Close())
		}()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(out); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if err := errors.Join(<-done, c.Wait()); err != nil {
			t.Error(err)
		}
		if _, err := out.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Wait: %v", err)
		}
		if c.PID() != 57 || c.Session() != "3" {
			t.Errorf("pid %d, session %q", c.PID(), c.Session())
		}
	})
	t.Run("both outputs one after the other", func(t *testing.T) {
		c := g.vm.Command(t.Context(), "both")
		out, _ := c.StdoutPipe()
		errs, _ := c.StderrPipe()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		b, err1 := io.ReadAll(errs)
		a, err2 := io.ReadAll(out)
		if err := errors.Join(err1, err2, c.Wait()); string(a)+string(b) != "out\nerr\n" || err != nil {
			t.Errorf("%q %q, %v", a, b, err)
		}
	})
	t.Run("much to say", func(t *testing.T) {
		_, err := g.vm.Command(t.Context(), "chatter").Output()
		exit, ok := errors.AsType[*ExitError](err)
		if !ok || len(exit.Stderr) > 2*endSize+100 || !bytes.HasPrefix(exit.Stderr, []byte("000")) ||
			!bytes.HasSuffix(exit.Stderr, []byte("999")) || !bytes.Contains(exit.Stderr, []byte(fmt.Sprint(1000*1000-2*endSize, " bytes are left out"))) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a writer that fails", func(t *testing.T) {
		c := g.vm.Command(t.Context(), "yes")
		c.Stdout = writerFunc(func([]byte) (int, error) { return 0, io.ErrShortBuffer })
		if err := c.Run(); !errors.Is(err, io.ErrShortBuffer) {
			t.Error(err)
		}
		<-g.killed
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestExecMisuse(t *testing.T) {
	g := newFakeGuest(t)
	c := g.vm.Command(t.Context(), "both")
	if err := c.Wait(); !errors.Is(err, errNotStarted) {
		t.Errorf("Wait before Start: %v", err)
	}
	if err := c.Signal(syscall.SIGTERM); !errors.Is(err, errNotStarted) || c.PID() != 0 || c.Session() != "" {
		t.Errorf("Signal before Start: %v", err)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err == nil {
		t.Error("a second Start")
	}
	if err := c.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v", err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("a second Wait: %v", err)
	}
	c = g.vm.Exec(t.Context(), Command{Path: "cat", Detached: true, Stdout: io.Discard})
	if err := c.Start(); err == nil || !errors.Is(c.Wait(), errNotStarted) {
		t.Errorf("a detached command with output: %v", err)
	}
	c = g.vm.Exec(t.Context(), Command{Path: "both", Stdout: io.Discard})
	if _, err := c.Output(); !errors.Is(err, errSet) {
		t.Errorf("Output with Stdout: %v", err)
	}
}

func TestExecSignalAndResize(t *testing.T) {
	g := newFakeGuest(t)
	c := g.vm.Exec(t.Context(), Command{Path: "cat", OpenStdin: true})
	out, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Resize(WindowSize{50, 132}); err != nil {
		t.Error(err)
	}
	line := make([]byte, len("50x132\n"))
	if _, err := io.ReadFull(out, line); string(line) != "50x132\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := c.Signal(syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	if exit, ok := errors.AsType[*ExitError](c.Wait()); !ok || exit.Signal != syscall.SIGUSR1 {
		t.Errorf("%+v", exit)
	}
}

// TestExecEndsWithItsContext: the program is killed, whatever the caller's readers do.
func TestExecEndsWithItsContext(t *testing.T) {
	g := newFakeGuest(t)
	for _, path := range []string{"cat", "yes"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		c := g.vm.Exec(ctx, Command{Path: path, OpenStdin: true})
		if _, err := c.StdoutPipe(); err != nil { // that nobody reads
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		cancel(enough)
		if err := c.Wait(); !errors.Is(err, enough) {
			t.Errorf("%s: %v", path, err)
		}
		if killed := <-g.killed; killed != path {
			t.Errorf("%s was killed, not %s", killed, path)
		}
		if err := g.vm.Command(ctx, "both").Run(); !errors.Is(err, enough) {
			t.Errorf("after the end: %v", err)
		}
	}
}

// TestExecBlockedWriter: Wait does not wait for ever for a writer after the end of the
// context.
func TestExecBlockedWriter(t *testing.T) {
	g := newFakeGuest(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := g.vm.Command(ctx, "yes")
	stuck, release := make(chan struct{}), make(chan struct{})
	c.Stdout = writerFunc(func(b []byte) (int, error) {
		close(stuck)
		<-release
		return len(b), nil
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	<-stuck
	cancel()
	if err := c.Wait(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	<-c.done
}

// TestExecSlowReader: what a program writes stays in the guest while nobody reads.
func TestExecSlowReader(t *testing.T) {
	g := newFakeGuest(t)
	c := g.vm.Command(t.Context(), "stall")
	release := make(chan struct{})
	c.Stdout = writerFunc(func(b []byte) (int, error) {
		<-release
		return len(b), nil
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if n := <-g.stalled; n > 4<<20 {
		t.Errorf("%d bytes are on their way", n)
	}
	close(release)
	<-c.done
}

func TestExecManyAtOnce(t *testing.T) {
	g := newFakeGuest(t)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			c := g.vm.Command(t.Context(), "cat")
			text := fmt.Sprint(i)
			c.Stdin = strings.NewReader(text)
			if out, err := c.Output(); string(out) != text || err != nil {
				t.Errorf("%d: %q, %v", i, out, err)
			}
		})
	}
	all.Wait()
}

// TestGuestDies: whatever waits says why, within two seconds.
func TestGuestDies(t *testing.T) {
	for name, tt := range map[string]struct {
		end   state.End
		check func(error) bool
	}{
		"panic": {state.End{Error: "the guest's kernel panicked", Died: true, Console: "Kernel panic\n"}, func(err error) bool {
			guest, ok := errors.AsType[*GuestError](err)
			return ok && guest.Console == "Kernel panic\n" && strings.Contains(err.Error(), "panicked")
		}},
		"main program ended": {state.End{Code: 4}, func(err error) bool {
			guest, ok := errors.AsType[*GuestError](err)
			return ok && strings.Contains(guest.Reason, "main program did (exit status 4)")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGuest(t)
			cmds := []*Cmd{g.vm.Exec(t.Context(), Command{Path: "cat", OpenStdin: true}), g.vm.Command(t.Context(), "yes")}
			for _, c := range cmds {
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			g.die(tt.end)
			for _, c := range cmds {
				if err := c.Wait(); !tt.check(err) {
					t.Errorf("%s: %v", c.Path, err)
				}
			}
			if took := time.Since(begin); took > reasonTime {
				t.Errorf("that took %v", took)
			}
			if _, err := g.vm.Command(t.Context(), "both").Output(); !errors.Is(err, ErrNotRunning) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestExecEvents(t *testing.T) {
	g := newFakeGuest(t)
	_ = g.vm.Command(t.Context(), "fail", "a", "b c").Run()
	var got []string
	for e, err := range g.vm.Events(t.Context(), EventOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(e.Action, e.Attributes))
	}
	want := []string{"createmap[]", "execmap[command:fail a b c session:3]", "exec-endmap[exit:3 session:3]"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
