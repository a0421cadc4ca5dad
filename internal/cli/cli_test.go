package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt"
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
		"unknown command":                     {"fly"},
		"unknown flag: --wings":               {"run", "--wings"},
		"either IMAGE or --host":              {"kernel", "import"},
		"arguments, 0: usage: holt kernel rm": {"kernel", "rm"},
		"unknown shorthand":                   {"doctor", "-x"},
		"see `holt run --help`":               {"run", "--cpu-quota", "much"},
		"such as 2 or 0.5":                    {"run", "-c", "300", "--", "true"},
		"one of none, local":                  {"run", "--network", "host", "--", "true"},
		"[ip:]host:guest":                     {"run", "-p", "x:1:2:3", "--", "true"},
		"must be an IPv4 address":             {"run", "--ip", "localhost", "--", "true"},
		"address of a DNS server":             {"run", "--dns", "localhost", "--", "true"},
		"file[:ro]":                           {"run", "--disk", ":ro", "--", "true"},
		"must be a size such as":              {"run", "-m", "-5", "--", "true"},
		"env-file":                            {"run", "--env-file", "/none", "--", "true"},
		"no such kernel":                      {"kernel", "default", "x"},
		"neither a kernel of `ho":             {"run", "--kernel", "x", "--", "true"},
		"has no meaning with --s":             {"run", "--snapshot", "x", "--rootfs", "/", "--", "true"},
		"no such snapshot: \"x\"":             {"run", "--snapshot", "x", "--", "true"},
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

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1 none", "2": "2 none", "255": "255 none", "2.0": "2 none",
		"0.5": "1 50000", "1.5": "2 150000", "0.01": "1 1000", "0.333": "1 33300", "254.5": "255 25450000",
		"0": "0 none", "-1": "error", "256": "error", "": "error", "all": "error", "NaN": "error", "Inf": "error", "1e9": "error",
	} {
		cfg := holt.DefaultConfig()
		got := "error"
		if err := parseCPUs(text, &cfg); err == nil {
			got = fmt.Sprint(cfg.VCPUCount, " none")
			if cfg.CPUQuotaUS != nil {
				got = fmt.Sprint(cfg.VCPUCount, " ", *cfg.CPUQuotaUS)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// The order of --allow and --deny among each other is the rules' order.
func TestRulesKeepTheirOrder(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	out, err := execute("run", "--rootfs", t.TempDir(), "--deny", "10.0.0.1", "--allow", "10.0.0.0/8", "--allow", "*.example.com:443/tcp", "--deny", "any", "--dry-run", "--", "true")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := holt.ParseConfig([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(cfg.NetworkRules), "[deny 10.0.0.1 allow 10.0.0.0/8 allow *.example.com:443/tcp deny any]"; got != want {
		t.Errorf("rules %s, want %s", got, want)
	}
}

func TestRootFlags(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want holt.Config
	}{
		{[]string{"--rootfs", dir}, holt.Config{RootPath: dir}},
		{[]string{"--rootfs", file}, holt.Config{RootfsPath: file}},
		{[]string{"--root-disk", file + ":ro"}, holt.Config{RootDisk: holt.Disk{Path: file, ReadOnly: true}}},
	} {
		out, err := execute(append(append([]string{"run"}, c.args...), "--dry-run", "--", "true")...)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := holt.ParseConfig([]byte(out))
		if err != nil || cfg.RootPath != c.want.RootPath || cfg.RootfsPath != c.want.RootfsPath || cfg.RootDisk != c.want.RootDisk {
			t.Errorf("%v: %+v, %v", c.args, cfg, err)
		}
	}
}
