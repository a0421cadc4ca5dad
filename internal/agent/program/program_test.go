package program

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentproto"
)

// run starts spec and returns its output and exit.
func run(t *testing.T, spec agentproto.Program) (stdout, stderr string, exit agentproto.Exit) {
	t.Helper()
	p, e := Start(reaper, spec)
	if e != nil {
		t.Fatalf("start: %v", e)
	}
	defer p.Close()
	var out, errs bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(&out, p.Stdout) }) // a terminal ends with an error
	if p.Stderr != nil {
		wg.Go(func() { _, _ = io.Copy(&errs, p.Stderr) })
	}
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		_ = p.Kill()
		t.Fatal("the program does not end")
	}
	wg.Wait()
	return out.String(), errs.String(), p.Exit()
}

func sh(script string) agentproto.Program {
	return agentproto.Program{Path: "/bin/sh", Args: []string{"-c", script}}
}

func TestExit(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   agentproto.Exit
	}{
		{"exit 0", agentproto.Exit{}},
		{"exit 7", agentproto.Exit{Code: 7}},
		{"exit 255", agentproto.Exit{Code: 255}},
		{"kill -9 $$", agentproto.Exit{Signal: 9}},
		{"kill -TERM $$", agentproto.Exit{Signal: 15}},
		{"ulimit -c 0; kill -SEGV $$", agentproto.Exit{Signal: 11}},
	} {
		if _, _, got := run(t, sh(tt.script)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.script, got, tt.want)
		}
	}
}

// TestStartFailures has what 126 and 127 stand for.
func TestStartFailures(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	orphan := write("orphan", "#!/no/such/interpreter -x\necho\n", 0o755)
	plain := write("plain", "#!/bin/sh\n", 0o644)
	noformat := write("noformat", "echo hi\n", 0o755)
	tests := []struct {
		name   string
		spec   agentproto.Program
		status int
		want   string
	}{
		{"absent path", agentproto.Program{Path: "/no/such"}, 127, "/no/such does not exist"},
		{"below a file", agentproto.Program{Path: "/bin/sh/x"}, 127, "does not exist"},
		{"absent name", agentproto.Program{Path: "no-such-name"}, 127, "not found in the guest's PATH"},
		{"not on that PATH", agentproto.Program{Path: "sh", Env: []string{"PATH=/no:/where"}}, 127, "/no:/where"},
		{"absent interpreter", agentproto.Program{Path: orphan}, 127, "its interpreter /no/such/interpreter does not exist"},
		{"absent interpreter, limited", agentproto.Program{Path: orphan, Rlimits: []agentproto.Rlimit{{Resource: 4}}}, 127, "its interpreter"},
		{"absent directory", agentproto.Program{Path: "/bin/sh", Cwd: "/no/such"}, 127, "working directory /no/such does not exist"},
		{"directory", agentproto.Program{Path: "/tmp"}, 126, "/tmp is a directory"},
		{"no permission", agentproto.Program{Path: plain}, 126, "not executable"},
		{"no permission, by name", agentproto.Program{Path: "plain", Env: []string{"PATH=/no:" + dir}}, 126, "not executable"},
		{"no format", agentproto.Program{Path: noformat}, 126, "neither a program"},
		{"no format, limited", agentproto.Program{Path: noformat, Rlimits: []agentproto.Rlimit{{Resource: 4}}}, 126, "neither a program"},
		{"device", agentproto.Program{Path: "/dev/null"}, 126, "not a regular file"},
		{"file as directory", agentproto.Program{Path: "/bin/sh", Cwd: plain}, 126, "is not a directory"},
		{"unknown user", agentproto.Program{Path: "/bin/sh", User: "no-such-user"}, 125, "no-such-user"},
		{"invalid", agentproto.Program{}, 125, "path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := openFiles(t)
			p, e := Start(reaper, tt.spec)
			if e == nil {
				p.Close()
				t.Fatal("it started")
			}
			if e.Status() != tt.status || !strings.Contains(e.Message, tt.want) {
				t.Errorf("%d %q, want %d with %q", e.Status(), e.Message, tt.status, tt.want)
			}
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func TestEnvironment(t *testing.T) {
	spec := agentproto.Program{Path: "env", Env: []string{"A=1", "A=2", "EMPTY=", "PATH=/usr/bin:/bin"}}
	out, _, _ := run(t, spec)
	got := strings.Split(strings.TrimSpace(out), "\n")
	for _, want := range []string{"A=2", "EMPTY=", "PATH=/usr/bin:/bin"} {
		if n := count(got, want); n != 1 {
			t.Errorf("%q is there %d times in %q", want, n, got)
		}
	}
	if strings.Contains(out, "A=1") || strings.Contains(out, "TERM=") || !strings.Contains(out, "HOME=/") || !strings.Contains(out, "HOSTNAME=") {
		t.Errorf("environment %q", got)
	}
	spec.TTY = true
	if out, _, _ := run(t, spec); !strings.Contains(out, "TERM=xterm") {
		t.Errorf("environment with a terminal %q", out)
	}
}

func count(list []string, want string) (n int) {
	for _, s := range list {
		if s == want {
			n++
		}
	}
	return n
}

func TestArgsAndCwd(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), []byte("#!/bin/sh\necho \"$PWD|$1|$2|$#\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, _, _ := run(t, agentproto.Program{Path: "./prog", Args: []string{"a b", ""}, Cwd: dir})
	if want := dir + "|a b||2\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if out, _, _ := run(t, sh("echo $0")); out != "/bin/sh\n" {
		t.Errorf("argv[0] is %q", out)
	}
}

func TestStreamsAreApart(t *testing.T) {
	stdout, stderr, _ := run(t, sh("echo out; echo err >&2; cat; readlink /proc/self/fd/0"))
	if stdout != "out\n/dev/null\n" || stderr != "err\n" {
		t.Errorf("%q and %q", stdout, stderr)
	}
}

// TestCleanSlate: a program has its three streams and a session, and inherits
// nothing else of the agent.
func TestCleanSlate(t *testing.T) {
	for _, limits := range [][]agentproto.Rlimit{nil, {{Resource: unix.RLIMIT_CORE}}} {
		spec := sh("cd /proc/self/fd; echo *; cut -d' ' -f 6 /proc/$$/stat; echo $$; grep -E '^Sig(Blk|Ign)' /proc/self/status")
		spec.Rlimits = limits
		out, _, _ := run(t, spec)
		lines := strings.Split(out, "\n")
		if len(lines) < 5 || strings.TrimSuffix(lines[0], " 3") != "0 1 2" || lines[1] != lines[2] {
			t.Errorf("descriptors, session and process id: %q", lines)
		}
		for _, l := range lines[3:5] {
			// What was ignored when this test started stays so: nohup does
			// that with SIGHUP, and GNU make with signals 32 and 33.
			if set := signalSet(t, l); set&^signalSet(t, ownStatus(t, "SigIgn")) != 0 {
				t.Errorf("signals: %q", l)
			}
		}
	}
}

// signalSet reads the mask in a line of /proc/PID/status.
func signalSet(t *testing.T, line string) uint64 {
	t.Helper()
	set, err := strconv.ParseUint(line[strings.IndexByte(line, '\t')+1:], 16, 64)
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return set
}

// ownStatus is a line of this process's own status.
func ownStatus(t *testing.T, key string) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, key+":") {
			return strings.TrimSuffix(line, "\n")
		}
	}
	t.Fatalf("no %s in /proc/self/status", key)
	return ""
}

func TestTerminal(t *testing.T) {
	spec := sh("tty; stty size; echo err >&2; test -t 0 && test -t 1 && test -t 2 && echo all; cat </dev/tty")
	spec.TTY, spec.Stdin, spec.Window = true, true, agentproto.WindowSize{Rows: 33, Cols: 101}
	p, e := Start(reaper, spec)
	if e != nil {
		t.Fatal(e)
	}
	defer p.Close()
	if _, err := p.Stdin.Write([]byte("typed")); err != nil {
		t.Fatal(err)
	}
	if err := p.EndStdin(true); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(p.Stdout) // ends with EIO
	<-p.Done()
	for _, want := range []string{"/dev/pts/", "33 101", "err", "all", "typed"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if p.Exit() != (agentproto.Exit{}) {
		t.Errorf("exit %+v", p.Exit())
	}
}

func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start programs as somebody else")
	}
	for _, limits := range [][]agentproto.Rlimit{nil, {{Resource: unix.RLIMIT_NOFILE, Soft: 100, Hard: 200}}} {
		spec := sh("id -u; id -g; id -G; echo again >/dev/stdout")
		spec.User, spec.Rlimits = "1234:4321", limits
		out, stderr, _ := run(t, spec)
		if out != "1234\n4321\n4321\nagain\n" {
			t.Errorf("%q, %q", out, stderr)
		}
	}
}

func TestRlimits(t *testing.T) {
	const unlimited = 1<<64 - 1
	spec := agentproto.Program{Path: "cat", Args: []string{"/proc/self/limits"}, Rlimits: []agentproto.Rlimit{
		{Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 128},
		{Resource: unix.RLIMIT_CORE, Soft: 0, Hard: 0},
		{Resource: unix.RLIMIT_AS, Soft: 64 << 20, Hard: unlimited},
		{Resource: unix.RLIMIT_STACK, Soft: 1 << 20, Hard: 1 << 20},
	}}
	own := limits(t, "/proc/self/limits")
	out, _, exit := run(t, spec)
	if exit.Status() != 0 {
		t.Fatalf("exit %+v", exit)
	}
	for name, want := range map[string]string{
		"Max open files": "64 128", "Max core file size": "0 0",
		"Max address space": fmt.Sprint(64<<20, " unlimited"), "Max stack size": fmt.Sprint(1<<20, " ", 1<<20),
	} {
		if got := limit(out, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if now := limits(t, "/proc/self/limits"); now != own {
		t.Errorf("the limits of this process became %s", now)
	}
}

func limits(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// limit returns the soft and hard limit of a line of /proc/*/limits.
func limit(table, name string) string {
	for line := range strings.Lines(table) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			f := strings.Fields(rest)
			return f[0] + " " + f[1]
		}
	}
	return ""
}

// TestReaperRace starts programs that end before anybody can look.
func TestReaperRace(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 25 {
				p, e := Start(reaper, sh(fmt.Sprintf("exit %d", i)))
				if e != nil {
					t.Error(e)
					return
				}
				select {
				case <-p.Done():
				case <-time.After(20 * time.Second):
					t.Error("no exit status")
				}
				if p.Exit().Code != i {
					t.Errorf("exit %+v, want %d", p.Exit(), i)
				}
				if err := p.Signal(15, false); err != unix.ESRCH {
					t.Errorf("signal after the end: %v", err)
				}
				p.Close()
			}
		})
	}
	wg.Wait()
}

func TestKillReachesTheGroup(t *testing.T) {
	p, e := Start(reaper, sh("sleep 1000 & sleep 1000"))
	if e != nil {
		t.Fatal(e)
	}
	defer p.Close()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Stdout.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(p.Stdout); err != nil {
		t.Errorf("a child lives on: %v", err)
	}
}
