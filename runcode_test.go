package holt

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVMRunCode(t *testing.T) {
	g := newFakeGuest(t)
	// The guest has no python3: the next name is taken.
	out, err := g.vm.RunCode(t.Context(), "python", "print(1)")
	exit, ok := errors.AsType[*ExitError](err)
	if string(out) != "-c print(1)" || !ok || exit.Code != 3 || string(exit.Stderr) != "what went wrong" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestRunCodeRefuses(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	root := t.TempDir()
	for want, tt := range map[string]struct {
		language, source string
		opts             []Option
	}{
		"one of bash, javascript": {"cobol", "", []Option{WithRoot(root)}},
		"at most 131071":          {"python", strings.Repeat("x", 1<<17), []Option{WithRoot(root)}},
		"holt setup":              {"python", "", nil},
		"no python3 or python":    {"python", "", []Option{WithRoot(root)}},
		"/none/such":              {"python", "", []Option{WithRoot("/none/such")}},
	} {
		if _, err := RunCode(t.Context(), tt.language, tt.source, tt.opts...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if _, err := RunCode(t.Context(), "perl", "", WithRoot(root)); !errors.Is(err, ErrProgramNotFound) {
		t.Error(err)
	}
}

// TestInterpreterInRoot: also where the directory is a link, or the file an absolute one.
func TestInterpreterInRoot(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(root, "usr/bin/python3"), 0o755), // no program
		os.Symlink("usr/bin", filepath.Join(root, "bin")),
		os.Symlink("/etc/alternatives/python", filepath.Join(root, "usr/bin/python")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	i, err := interpreterOf("python", "")
	if err != nil {
		t.Fatal(err)
	}
	if name, err := i.in(root); name != "python" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
}

func TestEnds(t *testing.T) {
	var e ends
	e.Write([]byte("abc"))
	e.Write([]byte("def"))
	if string(e.Bytes()) != "abcdef" {
		t.Errorf("%q", e.Bytes())
	}
}
