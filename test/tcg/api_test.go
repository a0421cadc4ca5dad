//go:build tcg

package tcg

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// outsider is a program of somebody else's, in another module.
const outsider = `package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/holtvm/holt"
)

func main() {
	var opts []holt.Option
	if len(os.Args) > 2 {
		opts = append(opts, holt.InProcess())
	}
	vm, err := holt.NewBuilder().RootPath(os.Args[1]).RootOverlay(true).RAMMiB(256).
		ExecPath("sh").Args("-c", "echo hello from $WHERE; cat; exit 3").Env("WHERE=another module").Build(opts...)
	if err != nil {
		fmt.Println("build:", err)
		os.Exit(1)
	}
	vm.Stdin, vm.Stdout, vm.Stderr = os.Stdin, os.Stdout, os.Stderr
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err = vm.Run(ctx)
	fmt.Println("run:", err)
	os.Exit(holt.ExitStatus(err))
}
`

// TestFromAnotherModule builds a program that imports holt as a fresh checkout
// has it, without the generated agent, with plain go build.
func TestFromAnotherModule(t *testing.T) {
	t.Parallel()
	repo, dir := vmtest.Repo(t), t.TempDir()
	checkout, module := filepath.Join(dir, "holt"), filepath.Join(dir, "outsider")
	run(t, repo, "sh", "-c", `mkdir -p "$1" && git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$1"`, "sh", checkout)
	if err := os.Mkdir(module, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.go": outsider,
		"go.mod":  "module example.com/outsider\n\ngo 1.26\n\nrequire github.com/holtvm/holt v0.0.0\n\nreplace github.com/holtvm/holt => " + checkout + "\n",
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, module, "go", "mod", "tidy")
	run(t, module, "go", "build", ".")
	program := filepath.Join(module, "outsider")

	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(home, ".local", "share", "holt", "roots", "base")
	if data := os.Getenv("XDG_DATA_HOME"); data != "" {
		root = filepath.Join(data, "holt", "roots", "base")
	}
	agent := filepath.Join(repo, "internal", "agentbin", "bin", "holt-agent")
	const ran = "hello from another module\ninput\nrun: exit status 3\n"
	for _, c := range []struct {
		name string
		args []string
		env  []string
		code int
		says []string
	}{
		{"HOLT_BIN", []string{root}, []string{"HOLT_BIN=" + vmtest.Holt(t)}, 3, []string{ran}},
		{"in PATH", []string{root}, []string{"HOLT_BIN=", "PATH=" + filepath.Dir(vmtest.Holt(t)) + ":" + os.Getenv("PATH")}, 3, []string{ran}},
		{"in process", []string{root, "in"}, []string{"HOLT_AGENT=" + agent}, 3, []string{ran}},
		{"no holt", []string{root}, []string{"HOLT_BIN=", "PATH=/usr/bin:/bin"}, 1, []string{"build: no holt binary found", "HOLT_BIN", "make install"}},
		{"a bad HOLT_BIN", []string{root}, []string{"HOLT_BIN=/none/holt"}, 1, []string{"HOLT_BIN", "/none/holt"}},
		{"in process without an agent", []string{root, "in"}, []string{"HOLT_AGENT="}, 125, []string{"guest agent", "HOLT_AGENT", "go build"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(program, c.args...)
			cmd.Env = append(os.Environ(), c.env...)
			cmd.Stdin = strings.NewReader("input\n")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit status %d, want %d", code, c.code)
			}
			for _, text := range c.says {
				if !strings.Contains(string(out), text) {
					t.Errorf("no %q in:\n%s", text, out)
				}
			}
		})
	}
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
