package cli

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/holtvm/holt"
)

func TestExecHelpTeaches(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"exec", "--help"}, []string{"Exit status", "127", "--detach-keys", "holt exec -it", "by\nits id", "kill", "ls"}},
		{[]string{"exec", "ls", "--help"}, []string{"--json"}},
		{[]string{"exec", "kill", "--help"}, []string{"--signal", "--group"}},
		{[]string{"shell", "--help"}, []string{"login shell", "--user", "script.sh"}},
		{[]string{"attach", "--help"}, []string{"--no-stdin", "three interrupts"}},
		{[]string{"top", "--help"}, []string{"--json"}},
	} {
		out, err := execute(c.args...)
		if err != nil {
			t.Errorf("%v: %v", c.args, err)
		}
		for _, text := range c.want {
			if !strings.Contains(out, text) {
				t.Errorf("%v: no %q in\n%s", c.args, text, out)
			}
		}
	}
}

func TestExecMistakes(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	for _, c := range []struct {
		want string
		args []string
	}{
		{"name a VM and a program", []string{"exec", "web"}},
		{"name a VM and a program", []string{"exec", "web", "--"}},
		{"unknown flag: --wings", []string{"exec", "--wings", "web", "ps"}},
		{`no such VM: "web"`, []string{"exec", "web", "--", "ps"}},
		{`no such VM: "ls"`, []string{"exec", "--", "ls", "date"}},
		{`no such VM: "web"`, []string{"exec", "ls", "web"}},
		{`no such VM: "web"`, []string{"exec", "-u", "nobody", "web", "ls", "-l"}},
		{`no such VM: "web"`, []string{"shell", "web"}},
		{`no such VM: "web"`, []string{"attach", "web"}},
		{`no such VM: "web"`, []string{"top", "web"}},
		{"arguments, 1: usage: holt exec attach", []string{"exec", "attach", "web"}},
		{"signal \"X\"", []string{"exec", "kill", "-s", "X", "web", "1"}},
		{"key \"A-B\"", []string{"exec", "-e", "A-B=1", "web", "ps"}},
		{"RLIMIT_NAME", []string{"exec", "--rlimit", "x", "web", "ps"}},
		{"must not be negative", []string{"exec", "--timeout", "-1s", "web", "ps"}},
	} {
		_, err := execute(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v; want %q", c.args, err, c.want)
		}
		if status := holt.ExitStatus(err); status != holt.StatusHoltFailed {
			t.Errorf("%v: status %d", c.args, status)
		}
	}
}

func TestParseDetachKeys(t *testing.T) {
	for text, want := range map[string]string{
		"ctrl-p,ctrl-q": "\x10\x11", "": "", "~,.": "~.", "ctrl-@": "\x00", "CTRL-],a": "\x1da", "ctrl-\\": "\x1c",
	} {
		if got, err := parseDetachKeys(text); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"ctrl-", "ctrl-1", "ab", "a,", "é", "ctrl-pp"} {
		if _, err := parseDetachKeys(text); err == nil || !strings.Contains(err.Error(), "--detach-keys") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDetachReader(t *testing.T) {
	for _, tt := range []struct{ keys, in, out string }{
		{"\x10\x11", "abc", "abc"},
		{"\x10\x11", "abc\x10", "abc\x10"}, // the input's end
		{"\x10\x11", "a\x10b\x11c", "a\x10b\x11c"},
		{"\x10\x11", "a\x10\x10\x10b", "a\x10\x10\x10b"},
		{"aab", "aaac", "aaac"},
		{"aab", "", ""},
	} {
		r := &detachReader{in: iotest.OneByteReader(strings.NewReader(tt.in)), keys: []byte(tt.keys), detach: func() { t.Errorf("%q: detached", tt.in) }}
		if err := iotest.TestReader(r, []byte(tt.out)); err != nil {
			t.Errorf("%q: %v", tt.in, err)
		}
	}
	for _, in := range []string{"a\x10\x11", "a\x10\x10\x11more"} {
		for _, reader := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			left := 0
			out, err := io.ReadAll(&detachReader{in: reader, keys: []byte("\x10\x11"), detach: func() { left++ }})
			if !errors.Is(err, errLeft) || left != 1 || !strings.HasPrefix(string(out), "a") || strings.ContainsAny(string(out), "\x11m") {
				t.Errorf("%q: %q, %v, detached %d times", in, out, err, left)
			}
		}
	}
}

func TestPrintSessionsAndProcesses(t *testing.T) {
	now := time.Unix(1000, 0)
	status := 3
	var out bytes.Buffer
	if err := printSessions(&out, []holt.Session{
		{ID: "1", PID: 70, Command: []string{"sh", "-c", "echo hi"}, Running: true, Attached: true, Started: time.Unix(940, 0)},
		{ID: "12", PID: 71, Command: []string{"make"}, User: "nobody", ExitStatus: &status, Started: time.Unix(2000, 0)},
	}, now); err != nil {
		t.Fatal(err)
	}
	want := "ID   PID   USER     STARTED   STATE       COMMAND\n" +
		"1    70    root     1m ago    attached    sh -c \"echo hi\"\n" +
		"12   71    nobody   0s ago    ended (3)   make\n"
	if out.String() != want {
		t.Errorf("%s, want\n%s", &out, want)
	}
	out.Reset()
	if err := printProcesses(&out, []holt.ProcessInfo{
		{PID: 1, User: "root", State: "S", CPUTime: 1530 * time.Millisecond, Memory: 2 << 20, Started: time.Unix(0, 0), Command: "[init]"},
	}, now); err != nil {
		t.Fatal(err)
	}
	want = "PID  PPID  USER  STATE  TIME   MEMORY  STARTED  COMMAND\n" +
		"1    0     root  S      1.53s  2.0MiB  16m ago  [init]\n"
	if out.String() != want {
		t.Errorf("%s, want\n%s", &out, want)
	}
}
