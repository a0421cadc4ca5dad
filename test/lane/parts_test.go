package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPartsNameWhatExists: a part's package has tests, and what it skips is there
// to be skipped.
func TestPartsNameWhatExists(t *testing.T) {
	names := map[string]bool{}
	for _, p := range parts {
		if names[p.name] {
			t.Errorf("two parts are called %s", p.name)
		}
		names[p.name] = true
		files, err := filepath.Glob(filepath.Join("../..", p.pkg, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no tests in %s: %v", p.name, p.pkg, err)
		}
		var text []byte
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, b...)
		}
		for _, test := range regexp.MustCompile(`Test\w+`).FindAllString(p.skip+p.run, -1) {
			if !strings.Contains(string(text), "func "+test+"(") {
				t.Errorf("%s: %s has no %s", p.name, p.pkg, test)
			}
		}
	}
}

func TestChoose(t *testing.T) {
	got, err := choose(nil)
	if err != nil || len(got) == 0 {
		t.Errorf("none named: %v, %v", got, err)
	}
	for _, p := range got {
		if p.long {
			t.Errorf("none named, and %s is long", p.name)
		}
	}
	if got, err := choose([]string{"vmm", "kvmapi"}); err != nil || len(got) != 2 || got[0].name != "vmm" || got[1].name != "kvmapi" {
		t.Errorf("two named: %v, %v", got, err)
	}
	if _, err := choose([]string{"vmm", "none"}); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestOuterVMArguments(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1000")
	t.Setenv("HOLT_HOME", "/srv/holt")
	p := part{name: "p", pkg: "test/kvm", skip: "^TestB$"}
	for _, c := range []struct{ holt, mapped string }{
		{"/src/bin/holt", ""},
		{"/tmp/bin/holt", "-v /tmp/bin:/tmp/bin:ro"},
		{"/src2/holt", "-v /src2:/src2:ro"},
	} {
		l := lane{repo: "/src", holt: c.holt, tested: c.holt, backend: "kvm", memory: "2G", filter: "TestA", outer: true}
		got := strings.Join(l.inOuterVM(t.Context(), p, "/src/bin/lane/p.test").Args, " ")
		for _, want := range []string{
			c.holt + " run --backend qemu --nested -m 2G", "-v /src:/src:ro", "-w /src/test/kvm", c.mapped,
			"-e HOLT_HOME=/srv/holt", "-e HOLT_BACKEND=kvm", "-e HOLT_BIN=" + c.holt,
			"-- /src/bin/lane/p.test -test.v", "-test.run TestA -test.skip ^TestB$",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %s", want, got)
			}
		}
		if strings.Contains(got, "XDG_RUNTIME_DIR") || c.mapped == "" && strings.Count(got, " -v ") != 1 {
			t.Errorf("passes on what is this host's: %s", got)
		}
	}
}
