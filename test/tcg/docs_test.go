//go:build tcg

package tcg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/holtvm/holt/internal/paths"
	"github.com/holtvm/holt/internal/vmtest"
)

// TestDocs runs the commands of the console blocks of each page, in order and in
// one scratch directory, and compares how they end and what they print with what
// the page says.
func TestDocs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"docs/running.md", "docs/exec-and-files.md", "docs/looking.md", "docs/networking.md", "docs/disks-and-roots.md",
		"docs/backends.md", "README.md",
	} {
		t.Run(name, func(t *testing.T) {
			page, err := os.ReadFile(filepath.Join(vmtest.Repo(t), name))
			if err != nil {
				t.Fatal(err)
			}
			commands := consoleCommands(string(page))
			if len(commands) == 0 {
				t.Fatal("no command on the page")
			}
			dir, env := t.TempDir(), docsEnvironment(t)
			for _, c := range commands {
				c.check(t, dir, env)
			}
		})
	}
	t.Run("examples", runExamples)
	vmtest.NothingLeft(t)
}

// runExamples runs the examples of the Go package that need guests: those that say what
// they print. They are for people, so "Prints" stands where go test looks for "Output",
// and the root directory is not one of ours.
func runExamples(t *testing.T) {
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	repo := vmtest.Repo(t)
	names, err := filepath.Glob(filepath.Join(repo, "example_*_test.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	replace, dir := map[string]string{}, t.TempDir()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("// Prints:", "// Output:", "/srv/debian", dirs.BaseRoot()).Replace(string(text))
		replace[name] = filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(replace[name], []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	env := docsEnvironment(t)
	for _, line := range []string{
		"holt run -d --name web -m 128 -- sleep 600",
		"cd " + repo + " && HOLT_BIN=$(command -v holt) go test -count=1 -overlay " + overlay + " -run '^Example' .",
		"holt rm -f web",
	} {
		shownCommand{line: line}.check(t, repo, env)
	}
}

// shownCommand is a command on a page: a line that begins with "$ " in a block
// of the language console. Below it stands what it prints, or nothing; "…"
// stands for any text. A comment tells its exit status if that is not 0.
type shownCommand struct {
	line   string
	status int
	prints string
}

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```")
	statusNote   = regexp.MustCompile(`# exit status (\d+)`)
	// Commands for installing and building are not run here.
	runnable = regexp.MustCompile(`^(holt|cat|cp|echo|ls|mkdir|mke2fs|printf|truncate|\(cd) `)
)

func consoleCommands(page string) []shownCommand {
	var all []shownCommand
	for _, block := range consoleBlock.FindAllStringSubmatch(page, -1) {
		var last *shownCommand
		for text := range strings.Lines(block[1]) {
			line, isCommand := strings.CutPrefix(strings.TrimSuffix(text, "\n"), "$ ")
			switch {
			case !isCommand && last != nil:
				last.prints += text
			case isCommand && !runnable.MatchString(line):
				last = nil
			case isCommand:
				c := shownCommand{line: line}
				if m := statusNote.FindStringSubmatch(line); m != nil {
					c.status, _ = strconv.Atoi(m[1])
				}
				all = append(all, c)
				last = &all[len(all)-1]
			}
		}
	}
	return all
}

func (c shownCommand) check(t *testing.T, dir string, env []string) {
	t.Helper()
	// vmtest gives the time limit and marks the processes as ours.
	cmd := vmtest.Command{Dir: dir, Env: env}.Exec(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", c.line}
	var out string
	if strings.Contains(c.line, " -it ") {
		out = onTerminal(t, cmd)
	} else {
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		out = b.String()
	}
	if code := cmd.ProcessState.ExitCode(); code != c.status {
		t.Errorf("$ %s\nexit status %d, want %d:\n%s", c.line, code, c.status, out)
	}
	if c.prints != "" && !strings.Contains(c.line, " -it ") && !c.pattern().MatchString(out) {
		t.Errorf("$ %s\nprints:\n%swant:\n%s", c.line, out, c.prints)
	}
}

// pattern matches what the command may print.
func (c shownCommand) pattern() *regexp.Regexp {
	text := regexp.QuoteMeta(c.prints)
	text = regexp.MustCompile(`(?m)^…\n`).ReplaceAllString(text, "(?s:.*)")
	return regexp.MustCompile(`^` + strings.ReplaceAll(text, "…", ".*") + `$`)
}

// onTerminal runs a command that ends in a shell, as a person would who leaves
// it at its first prompt.
func onTerminal(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	screen := vmtest.NewScreen(tty)
	screen.WaitFor(t, "# ")
	fmt.Fprint(tty, "exit\r")
	_ = cmd.Wait() // the caller looks at the status
	return screen.Text()
}

// docsEnvironment puts holt into PATH and gives it a copy of what `holt setup`
// made, so that a page may import and remove kernels.
func docsEnvironment(t *testing.T) []string {
	t.Helper()
	dirs, err := paths.Default()
	if err != nil {
		t.Fatal(err)
	}
	bin, data := t.TempDir(), t.TempDir()
	if err := os.Symlink(vmtest.Holt(t), filepath.Join(bin, "holt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(data, "holt"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Its VMs stay there: a page's names are its own.
	run(t, data, "cp", "-a", filepath.Join(dirs.Data, "kernels"), filepath.Join(dirs.Data, "roots"), "holt")
	return []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "XDG_DATA_HOME=" + data, "XDG_RUNTIME_DIR=" + t.TempDir(), "HOLT_HOME="}
}
