//go:build tcg

package tcg

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestStdinThroughCat: 100 MB go in and come back byte for byte.
func TestStdinThroughCat(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	want := sha256.New()
	if _, err := io.Copy(want, source()); err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	cmd := vmtest.Command{Args: []string{"run", "-i", "--", "cat"}, Stdin: source()}.Exec(t)
	counter := &count{}
	cmd.Stdout = io.MultiWriter(got, counter)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	if counter.n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d of %d bytes came back, checksums equal: %v", counter.n, size, bytes.Equal(got.Sum(nil), want.Sum(nil)))
	}
	t.Logf("%d MB in and out in %v", size>>20, time.Since(start).Round(time.Millisecond))
}

type count struct{ n int64 }

func (c *count) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func TestOutputAndErrorsNeverMix(t *testing.T) {
	t.Parallel()
	script := `i=0; while [ $i -lt 2000 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done`
	var out, errs strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&out, "out %d\n", i)
		fmt.Fprintf(&errs, "err %d\n", i)
	}
	r := vmtest.Run(t, "run", "--", "sh", "-c", script)
	r.Want(t, 0, out.String())
	if r.Stderr != errs.String() {
		t.Errorf("standard error: %d bytes, want %d", len(r.Stderr), errs.Len())
	}
}

// TestSlowReaderBlocksTheProgram: nobody buffers what is not read.
func TestSlowReaderBlocksTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := vmtest.Command{Args: []string{"run", "-v", dir + ":/out", "--", "sh", "-c",
		"i=0; while :; do dd if=/dev/zero bs=64k count=16 2>/dev/null; i=$((i+1)); echo $i > /out/mb; done"}}.Exec(t)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1<<20)); err != nil { // it runs
		t.Fatal(err)
	}
	var written, last string
	for same := 0; same < 3; { // until the program has stood still for 3 s
		time.Sleep(time.Second)
		b, _ := os.ReadFile(dir + "/mb")
		if written = strings.TrimSpace(string(b)); written == last {
			same++
		} else {
			same = 0
		}
		last = written
	}
	var mb int
	fmt.Sscan(written, &mb)
	rss := vmtest.ProcessTreeRSS(t, cmd.Process.Pid, "holt")
	t.Logf("the program stopped after %d MB; our processes have %d KiB", mb, rss>>10)
	if mb > 16 {
		t.Errorf("%d MB were taken from the program and not read", mb)
	}
	if rss > 150<<20 {
		t.Errorf("our processes grew to %d MiB", rss>>20)
	}
	out.Close()
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	vmtest.NothingLeft(t)
}

// TestTerminal runs a program on a terminal of ours, as a person would.
func TestTerminal(t *testing.T) {
	cmd := exec.Command(vmtest.Holt(t), "run", "-it", "--", "sh", "-c", `stty size; tty; read line; echo "got $line"; sleep 600`)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	screen := vmtest.NewScreen(tty)
	screen.WaitFor(t, "33 101")
	screen.WaitFor(t, "/dev/pts/0")
	if _, err := tty.Write([]byte("otter\r")); err != nil {
		t.Fatal(err)
	}
	screen.WaitFor(t, "got otter")
	if _, err := tty.Write([]byte{3}); err != nil { // Ctrl-C, to the guest's terminal
		t.Fatal(err)
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit status %d (%v), want 130; screen:\n%s", code, err, screen.Text())
	}
	vmtest.NothingLeft(t)
}

// TestTerminalNeedsOne: -it with a pipe says so, before any boot.
func TestTerminalNeedsOne(t *testing.T) {
	r := vmtest.Command{Args: []string{"run", "-it", "--", "sh"}, Stdin: strings.NewReader("")}.Run(t)
	if r.Code != 125 || !strings.Contains(r.Stderr, "terminal") {
		t.Errorf("exit status %d, %q", r.Code, r.Stderr)
	}
}
