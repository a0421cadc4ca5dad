package vmtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Process is a running holt.
type Process struct {
	Cmd *exec.Cmd

	out, errs buffer
	start     time.Time
}

// Start starts holt with args.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: Command{Args: args}.Exec(t), start: time.Now()}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.out, &p.errs
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// StartWithStdin starts the command and returns its standard input, too.
func (c Command) StartWithStdin(t testing.TB) (*Process, io.WriteCloser) {
	t.Helper()
	p := &Process{Cmd: c.Exec(t), start: time.Now()}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.out, &p.errs
	stdin, err := p.Cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p, stdin
}

// WaitOutput waits until standard output has text.
func (p *Process) WaitOutput(t testing.TB, text string) {
	t.Helper()
	WaitFor(t, func() bool { return strings.Contains(p.out.String(), text) },
		func() string { return fmt.Sprintf("no %q in output %q, %q", text, p.out.String(), p.errs.String()) })
}

// Wait waits for the command's end.
func (p *Process) Wait(t testing.TB) Result {
	t.Helper()
	_ = p.Cmd.Wait()
	return Result{p.out.String(), p.errs.String(), p.Cmd.ProcessState.ExitCode(), time.Since(p.start)}
}

// WaitFor polls until ok, or fails the test with what complaint says.
func WaitFor(t testing.TB, ok func() bool, complaint func() string) {
	t.Helper()
	for deadline := time.Now().Add(Timeout); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(complaint())
		}
	}
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Screen collects what a terminal shows.
type Screen struct{ text buffer }

// NewScreen reads tty until its end.
func NewScreen(tty *os.File) *Screen {
	s := &Screen{}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			_, _ = s.text.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	return s
}

// Text is everything shown so far.
func (s *Screen) Text() string { return s.text.String() }

// WaitFor waits until text was shown.
func (s *Screen) WaitFor(t testing.TB, text string) {
	t.Helper()
	WaitFor(t, func() bool { return strings.Contains(s.Text(), text) },
		func() string { return fmt.Sprintf("no %q on the screen:\n%s", text, s.Text()) })
}

// proc is a line of the process table.
type proc struct {
	pid, parent int
	name        string
	args        string
}

func processes(t testing.TB) map[int]proc {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]proc{}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		fields := strings.Fields(string(b[end+1:]))
		if fields[0] == "Z" {
			continue
		}
		p := proc{name: string(b[open+1 : end])}
		p.pid, _ = strconv.Atoi(strings.TrimSpace(string(b[:open])))
		p.parent, _ = strconv.Atoi(fields[1])
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		p.args = strings.ReplaceAll(string(args), "\x00", " ")
		all[p.pid] = p
	}
	return all
}

// Tree returns the processes below pid, and itself, whose command line has
// text, as pids.
func Tree(t testing.TB, pid int, text string) []int {
	t.Helper()
	all := processes(t)
	var pids []int
	for _, p := range all {
		for up, ok := p, true; ok; up, ok = all[up.parent] {
			if up.pid == pid {
				if strings.Contains(p.args, text) {
					pids = append(pids, p.pid)
				}
				break
			}
		}
	}
	return pids
}

// ProcessTreeRSS is the resident memory, in bytes, of the processes of Tree
// whose name has text.
func ProcessTreeRSS(t testing.TB, pid int, name string) int64 {
	t.Helper()
	var total int64
	all := processes(t)
	for _, p := range Tree(t, pid, "") {
		if !strings.Contains(all[p].name, name) && !strings.Contains(all[p].args, " monitor") {
			continue
		}
		memory, _ := ProcessMemory(p, "RssAnon") // 0 of one that has ended
		total += memory
	}
	return total
}

// NothingLeft fails the test if a process, a mount or a VM's directory of ours
// is still there a moment after the last VM ended.
func NothingLeft(t testing.TB) {
	t.Helper()
	var left string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = leftovers(t); left == "" {
			return
		}
	}
	t.Error("left behind: " + left)
}

func leftovers(t testing.TB) string {
	t.Helper()
	for _, p := range processes(t) {
		if strings.HasPrefix(p.args, "qemu-system") && strings.Contains(p.args, "vhost-user") && ours(t, p.pid) ||
			strings.HasPrefix(p.args, "/proc/self/exe monitor") && ours(t, p.pid) {
			return fmt.Sprintf("process %d: %.80s", p.pid, p.args)
		}
	}
	return ""
}

// ours says whether a process has this test's environment: other tests' and
// other people's VMs are none of our business.
func ours(t testing.TB, pid int) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(env, []byte(runID(t)+"\x00"))
}

const runVar = "HOLT_TEST_RUN"

// runID marks the processes that a test starts, or a part of it: others may run
// beside it.
func runID(t testing.TB) string {
	test, _, _ := strings.Cut(t.Name(), "/")
	return fmt.Sprintf("%s=%d/%s", runVar, os.Getpid(), test)
}
