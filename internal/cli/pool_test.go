package cli

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt"
)

func TestPoolHelpTeaches(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"pool"}, []string{"holt pool start", "holt pool exec", "--reuse", "stop"}},
		{[]string{"pool", "start", "--help"}, []string{"--snapshot", "--min", "--max", "--idle-timeout", "--rootfs", "sleep infinity", "Ctrl-C"}},
		{[]string{"pool", "start", "py", "--help"}, []string{"--snapshot"}},
		{[]string{"pool", "exec", "--help"}, []string{"Exit status", "127", "--timeout", "-it py bash"}},
		{[]string{"pool", "ls", "--help"}, []string{"--json", "--quiet"}},
		{[]string{"pool", "stats", "--help"}, []string{"hits + misses", "jq"}},
		{[]string{"pool", "stop", "--help"}, []string{"killed"}},
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
		for _, flag := range notForPools {
			if strings.Contains(out, "--"+flag+" ") && c.args[1] == "start" {
				t.Errorf("%v shows --%s", c.args, flag)
			}
		}
	}
}

func TestPoolMistakes(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	l, err := holt.ListenPool(t.Context(), "taken")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	root := t.TempDir()
	for _, c := range []struct {
		want string
		args []string
	}{
		{"name the pool", []string{"pool", "start"}},
		{"unknown flag: --wings", []string{"pool", "start", "--wings", "py"}},
		{"see `holt pool start --help`", []string{"pool", "start", "py", "--wings"}},
		{"say what the VMs are copies of", []string{"pool", "start", "py"}},
		{"leave CMD out", []string{"pool", "start", "py", "--snapshot", "warm", "--", "true"}},
		{"--memory has no meaning", []string{"pool", "start", "py", "--snapshot", "warm", "-m", "1G"}},
		{"--name is for one VM", []string{"pool", "start", "--name", "x", "py", "--rootfs", root, "true"}},
		{"--publish is for one VM", []string{"pool", "start", "py", "--snapshot", "warm", "-p", "80:80"}},
		{"such as root or disk0", []string{"pool", "start", "py", "--snapshot", "warm", "--disk", "x"}},
		{"leave :ro out", []string{"pool", "start", "py", "--snapshot", "warm", "-v", "/tmp:/tmp:ro"}},
		{"--memory: \"x\"", []string{"pool", "start", "py", "-m", "x", "--rootfs", root, "true"}},
		{"--max 1: must be --min (2) or more", []string{"pool", "start", "py", "--snapshot", "warm", "--min", "2", "--max", "1"}},
		{`"warm"`, []string{"pool", "start", "py", "--snapshot", "warm"}},
		{"qemu backend cannot save", []string{"pool", "start", "py", "--backend", "qemu", "--rootfs", root, "--", "true"}},
		{"pool name", []string{"pool", "start", "a/b", "--snapshot", "warm"}},
		{`another process serves a pool called "taken"`, []string{"pool", "start", "taken", "--snapshot", "warm"}},
		{"name the pool", []string{"pool", "exec"}},
		{"name a pool and a program", []string{"pool", "exec", "py"}},
		{"name a pool and a program", []string{"pool", "exec", "py", "-i", "--"}},
		{"unknown flag: --wings", []string{"pool", "exec", "py", "--wings", "ps"}},
		{"must not be negative", []string{"pool", "exec", "py", "--timeout", "-1s", "ps"}},
		{`no process serves a pool called "py"`, []string{"pool", "exec", "py", "--", "ls", "-l"}},
		{`no process serves a pool called "py"`, []string{"pool", "exec", "py", "-e", "A=1", "ls", "-l"}},
		{`no process serves a pool called "py"`, []string{"pool", "exec", "-u", "nobody", "py", "ls", "-l"}},
		{`no process serves a pool called "py"`, []string{"pool", "stats", "py"}},
		{`no process serves a pool called "py"`, []string{"pool", "stop", "py"}},
		{"arguments, 0: usage: holt pool stats", []string{"pool", "stats"}},
		{"arguments, 0: usage: holt pool stop", []string{"pool", "stop"}},
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

func TestPoolWords(t *testing.T) {
	for _, tt := range []struct {
		args  string
		words string
		reuse bool
	}{
		{"py", "", false},
		{"py --reuse", "", true},
		{"--reuse py", "", true},
		{"--reuse py -- make --reuse", "make --reuse", true},
		{"py --reuse -- make -j 2", "make -j 2", true},
		{"py make --reuse", "make --reuse", false},
		{"-- py make --reuse", "make --reuse", false},
	} {
		cmd := newPoolStart()
		if err := cmd.Flags().Parse(strings.Fields(tt.args)); err != nil {
			t.Errorf("%q: %v", tt.args, err)
		}
		name, words, err := poolWords(cmd, cmd.Flags().Args())
		reuse, ferr := cmd.Flags().GetBool("reuse")
		if err := errors.Join(err, ferr); err != nil || name != "py" || !slices.Equal(words, strings.Fields(tt.words)) || reuse != tt.reuse {
			t.Errorf("%q: %q, %q, %v, %v", tt.args, name, words, reuse, err)
		}
	}
}

func TestPoolLsOfNothing(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	if out, err := execute("pool", "ls", "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := execute("pool", "ls"); err != nil || !strings.HasPrefix(out, "NAME") {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := execute("pool", "ls", "-q"); err != nil || out != "" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestPrintPools(t *testing.T) {
	now := time.Unix(1000, 0)
	py := holt.PoolInfo{Name: "py", PID: 7, From: "snapshot warm", Started: time.Unix(940, 0)}
	py.Min, py.Max, py.Idle, py.InUse, py.Hits, py.Created, py.Released = 2, 8, 2, 1, 5, 7, 4
	var out bytes.Buffer
	if err := printPools(&out, []holt.PoolInfo{{Name: "late", Error: "it does not answer"}, py}, now); err != nil {
		t.Fatal(err)
	}
	want := "NAME   OF                     STARTED   IDLE   IN USE   MAX   WAITING   HITS   MISSES\n" +
		"late   (it does not answer)   -         -      -        -     -         -      -\n" +
		"py     snapshot warm          1m ago    2      1        8     0         5      0\n"
	if out.String() != want {
		t.Errorf("%s, want\n%s", &out, want)
	}
	out.Reset()
	if err := printPool(&out, py, now); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"pool py of snapshot warm, since 1m (process 7)", "idle        2   ready; 2 are kept so", "max         8   ", "hits        5   "} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, &out)
		}
	}
}
