//go:build tcg

package tcg

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/vmtest"
)

// person sits at a terminal.
type person struct {
	t      *testing.T
	tty    *os.File
	screen *vmtest.Screen
	seen   int // of what the terminal showed, bytes
}

// types sends keys, and returns when the terminal has then shown a text.
func (p *person) types(keys, want string) {
	p.t.Helper()
	p.seen = len(p.screen.Text())
	if _, err := io.WriteString(p.tty, keys); err != nil {
		p.t.Fatal(err)
	}
	p.sees(want)
}

func (p *person) sees(want string) {
	p.t.Helper()
	vmtest.WaitFor(p.t, func() bool { return strings.Contains(p.screen.Text()[p.seen:], want) },
		func() string { return fmt.Sprintf("no %q on the screen:\n%s", want, p.screen.Text()[p.seen:]) })
}

// TestShellSession is a session as a person has it, whose transcript goes to the log.
// Words that must appear are typed with quotes inside, so that their echo is no match.
func TestShellSession(t *testing.T) {
	vmtest.Home(t)
	do(t, "run", "-d", "--name", "web", "-m", "128M", "--", "sleep", "600")
	cmd := vmtest.Command{Args: []string{"shell", "web"}, Env: []string{"TERM=xterm"}}.Exec(t)
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	defer tty.Close() // our own, so that it is there after the command
	size := func(rows, cols uint16) {
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
			t.Fatal(err)
		}
	}
	size(33, 101)
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, tty: terminal, screen: vmtest.NewScreen(terminal)}
	defer func() { t.Logf("the session:\n%q", p.screen.Text()) }()
	p.sees("# ")
	p.types("stty size; tty; echo $TERM\r", "33 101\r\n/dev/pts/")
	p.sees("xterm")

	size(24, 90)
	vmtest.WaitFor(t, func() bool {
		p.types("stty size; echo do''ne\r", "done")
		return strings.Contains(p.screen.Text()[p.seen:], "24 90")
	}, func() string { return "the size does not follow" })

	p.types("top\r", "Load average:")
	p.types("q", "# ")

	p.types("vi /tmp/note\r", "- /tmp/note") // its last line; the name alone is the echo
	p.types("iwritten in vi", "written in vi")
	p.types("\x1b", "- /tmp/note") // no more, or it were a key's sequence
	p.types(":wq\r", "# ")
	p.types("cat /tmp/note | tr a-z A-Z\r", "WRITTEN IN VI")

	p.types("sleep 600\r", "sleep 600\r\n")
	awaitGuest(t, "sleep 600", 2) // the VM's program is one
	p.types("\x03", "# ")
	p.types("echo co''de $?\r", "code 130")

	p.types("sleep 600\r", "sleep 600\r\n")
	awaitGuest(t, "sleep 600", 2)
	p.types("\x1a", "Stopped")
	p.types("fg\r", "sleep 600")
	p.types("\x03", "# ")

	p.types("exit 3\r", "exit 3")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit status %d, want 3", code)
	}
	after, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal's mode was %+v and is %+v, %v", before, after, err)
	}
}

// awaitGuest waits until n processes of VM web have text in their command line.
func awaitGuest(t *testing.T, text string, n int) {
	t.Helper()
	var ps string
	for deadline := time.Now().Add(vmtest.Timeout); time.Now().Before(deadline); {
		ps = do(t, "top", "--json", "web")
		if strings.Count(ps, text) == n {
			return
		}
	}
	t.Fatalf("not %d of %q:\n%s", n, text, ps)
}
