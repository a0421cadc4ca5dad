package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// ShownCommand is a command on a page: a line that begins with "$ " in a block
// of the language console. Below it stands what it prints, or nothing; "…"
// stands for any text. A comment tells its exit status if that is not 0.
type ShownCommand struct {
	Line   string
	Status int
	Prints string
}

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```")
	statusNote   = regexp.MustCompile(`# exit status (\d+)`)
	// Commands for installing and building are not run here.
	runnable = regexp.MustCompile(`^(holt|cat|cp|echo|ls|mkdir|mke2fs|printf|truncate|\(cd) `)
)

// CheckPage runs the commands of a page's console blocks, in order and in one directory,
// and compares how they end and what they print with what the page says.
func CheckPage(t *testing.T, page, dir string, env []string) {
	t.Helper()
	commands := consoleCommands(page)
	if len(commands) == 0 {
		t.Fatal("no command on the page")
	}
	for _, c := range commands {
		c.Check(t, dir, env)
	}
}

func consoleCommands(page string) []ShownCommand {
	var all []ShownCommand
	for _, block := range consoleBlock.FindAllStringSubmatch(page, -1) {
		var last *ShownCommand
		for text := range strings.Lines(block[1]) {
			line, isCommand := strings.CutPrefix(strings.TrimSuffix(text, "\n"), "$ ")
			switch {
			case !isCommand && last != nil:
				last.Prints += text
			case isCommand && !runnable.MatchString(line):
				last = nil
			case isCommand:
				c := ShownCommand{Line: line}
				if m := statusNote.FindStringSubmatch(line); m != nil {
					c.Status, _ = strconv.Atoi(m[1])
				}
				all = append(all, c)
				last = &all[len(all)-1]
			}
		}
	}
	return all
}

// Check runs the command.
func (c ShownCommand) Check(t *testing.T, dir string, env []string) {
	t.Helper()
	// Exec gives the time limit and marks the processes as ours.
	cmd := Command{Dir: dir, Env: env}.Exec(t)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", c.Line}
	var out string
	if strings.Contains(c.Line, " -it ") {
		out = onTerminal(t, cmd)
	} else {
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		out = b.String()
	}
	if code := cmd.ProcessState.ExitCode(); code != c.Status {
		// What it needed may have ended by itself.
		look := Command{Dir: dir, Env: env}.Exec(t)
		look.Path, look.Args = "/bin/sh", []string{"sh", "-c", "holt events --since 10m --filter action=die --json; holt ps -a"}
		events, _ := look.CombinedOutput()
		t.Errorf("$ %s\nexit status %d, want %d:\n%s\nthe VMs' ends:\n%s", c.Line, code, c.Status, out, events)
	}
	if c.Prints != "" && !strings.Contains(c.Line, " -it ") && !c.pattern().MatchString(out) {
		t.Errorf("$ %s\nprints:\n%swant:\n%s", c.Line, out, c.Prints)
	}
}

// pattern matches what the command may print.
func (c ShownCommand) pattern() *regexp.Regexp {
	text := regexp.QuoteMeta(c.Prints)
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
	screen := NewScreen(tty)
	screen.WaitFor(t, "# ")
	fmt.Fprint(tty, "exit\r")
	_ = cmd.Wait() // the caller looks at the status
	return screen.Text()
}
