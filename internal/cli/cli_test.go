package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// execute runs holt with its output captured.
func execute(args ...string) (string, error) {
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.Execute()
	return out.String(), err
}

func TestHelpTeaches(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"holt setup", "holt run", "holt doctor"}},
		{[]string{"run", "--help"}, []string{"Exit status", "127", "--rootfs", "--timeout", "holt run -c 2"}},
		{[]string{"kernel"}, []string{"fetch", "import", "ls"}},
		{[]string{"kernel", "import", "--help"}, []string{"--host", "--modules"}},
		{[]string{"completion", "bash"}, []string{"bash completion"}},
		{[]string{"version"}, []string{"holt dev", "linux/"}},
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
		if strings.Contains(out, "monitor") {
			t.Errorf("%v shows the internal command", c.args)
		}
	}
}

func TestMistakes(t *testing.T) {
	for want, args := range map[string][]string{
		"unknown command":         {"fly"},
		"unknown flag: --wings":   {"run", "--wings"},
		"either IMAGE or --host":  {"kernel", "import"},
		"accepts 1 arg":           {"kernel", "rm"},
		"unknown shorthand":       {"doctor", "-x"},
		"see `holt run --help`":   {"run", "-c", "300"},
		"must be a size such as":  {"run", "-m", "-5", "--", "true"},
		"env-file":                {"run", "--env-file", "/none", "--", "true"},
		"no such kernel":          {"kernel", "default", "x"},
		"neither a kernel of `ho": {"run", "--kernel", "x", "--", "true"},
	} {
		t.Setenv("HOLT_HOME", t.TempDir())
		_, err := execute(args...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v; want %q", args, err, want)
		}
	}
}

func TestParseMemory(t *testing.T) {
	for text, want := range map[string]uint32{
		"512": 512, "64M": 64, "64m": 64, "2G": 2048, "2g": 2048, "0": 0, "4194303G": 4194303 * 1024,
		"": bad, "M": bad, "-1": bad, "1.5G": bad, "1T": bad, "4194304G": bad, "99999999999": bad, "5 M": bad,
	} {
		got, err := parseMemory(text)
		if want == bad != (err != nil) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

const bad = 1 // no case has this size

func TestEnvironment(t *testing.T) {
	t.Setenv("FROM_HOST", "host value")
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# a comment\n\n  A=1\nB= spaced \nFROM_HOST\nNOT_ON_HOST\nC='quoted'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &runFlags{envFile: file, env: []string{"A=2", "D"}}
	env, err := f.environment()
	var got []string
	for _, e := range env {
		got = append(got, e.String())
	}
	if want := "A=1|B= spaced |FROM_HOST=host value|C='quoted'|A=2"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if err := os.WriteFile(file, []byte("GOOD=1\nbad key=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.environment(); err == nil || !strings.Contains(err.Error(), file+":2") {
		t.Errorf("a bad line: %v", err)
	}
}

func TestPrintError(t *testing.T) {
	var out bytes.Buffer
	printError(&out, errors.Join(errors.New("one"), errors.New("two\n  | console")))
	if want := "holt: one\nholt: two\n  | console\n"; out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

// TestDoctorWithoutAnything: the doctor says what to do on a bare host, in text
// and in JSON, and its status says that nothing runs.
func TestDoctorWithoutAnything(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	t.Setenv("PATH", "/none")
	t.Setenv("HOLT_QEMU", "")
	out, err := execute("doctor")
	var exit *exitError
	if !errors.As(err, &exit) || exit.status != 125 {
		t.Errorf("error %v", err)
	}
	for _, text := range []string{"missing  qemu", "apt-get install", "missing  kernel", "holt setup", "kvm"} {
		if !strings.Contains(out, text) {
			t.Errorf("no %q in\n%s", text, out)
		}
	}
	out, _ = execute("doctor", "--json")
	var findings []finding
	if err := json.Unmarshal([]byte(out), &findings); err != nil || len(findings) < 7 {
		t.Errorf("%d findings, %v in\n%s", len(findings), err, out)
	}
}

func TestKernelLsOfNothing(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	if out, err := execute("kernel", "ls", "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := execute("kernel", "ls"); err != nil || !strings.HasPrefix(out, "NAME") {
		t.Errorf("%q, %v", out, err)
	}
}
