//go:build kvm

package kvm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/vmtest"
)

const (
	clockPause = 3 * time.Second
	clockDrift = 50 * time.Millisecond  // at most, in a minute or over the pause
	clockStart = 300 * time.Millisecond // what they may differ by after the boot: an emulated host is slow to hand over the time
)

// TestClocksAndPause compares a guest's clocks with the host's, over some time and
// across a pause. A program that writes a shared file meanwhile goes on where it
// was.
func TestClocksAndPause(t *testing.T) {
	g := startClockGuest(t)
	first := g.offsets(t)
	t.Logf("at first: %v", first)
	if d := first.wall.Abs(); d > clockStart {
		t.Errorf("the guest's clock is %v off", d)
	}
	seconds := vmtest.Times(60, 20)
	time.Sleep(time.Duration(seconds) * time.Second)
	later := g.offsets(t)
	t.Logf("after %d s: %v", seconds, later)
	first.compare(t, later, clockDrift*time.Duration(seconds)/60)

	if err := g.vm.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := g.written(t)
	time.Sleep(clockPause)
	if after := g.written(t); !bytes.Equal(before, after) {
		t.Errorf("a paused guest wrote %d bytes", len(after)-len(before))
	}
	if err := g.vm.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	resumed := g.offsets(t)
	t.Logf("after a pause of %v: %v", clockPause, resumed)
	later.compare(t, resumed, clockDrift)

	g.end(t, before)
}

// offsets are the guest's clocks less the host's.
type offsets struct {
	wall, mono time.Duration
	bracket    time.Duration // in which the guest was asked
}

func (o offsets) String() string {
	return fmt.Sprintf("realtime %v, monotonic %v (± %v)", o.wall, o.mono, o.bracket/2)
}

func (o offsets) compare(t *testing.T, later offsets, most time.Duration) {
	t.Helper()
	for clock, d := range map[string]time.Duration{"realtime": later.wall - o.wall, "monotonic": later.mono - o.mono} {
		t.Logf("the %s clock moved by %v against the host's", clock, d)
		if d.Abs() > most {
			t.Errorf("the %s clock moved by %v against the host's, at most %v is right", clock, d, most)
		}
	}
}

// clockGuest is a guest that runs writeAndTellTime.
type clockGuest struct {
	vm      *holt.VM
	shared  string
	ask     *io.PipeWriter
	answers *bufio.Reader
}

func startClockGuest(t *testing.T) *clockGuest {
	t.Helper()
	shared := t.TempDir()
	half := vmtest.GuestHalf(t, "clock") // run -v HOST:GUEST:ro -e KEY=VALUE -- PROGRAM
	vm, err := holt.NewBuilder().RootPath(baseRoot(t)).RootOverlay(true).RAMMiB(256).NumVCPUs(2).
		MappedDirs(half[2], shared+":/shared").Env(half[4]).ExecPath(half[len(half)-1]).
		Build(holt.InProcess(), holt.WithBackend("kvm"))
	if err != nil {
		t.Fatal(err)
	}
	questions, ask := io.Pipe()
	answers, tell := io.Pipe()
	vm.Stdin, vm.Stdout, vm.Stderr = questions, tell, os.Stderr
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = vm.Kill()
		_ = ask.Close()
	})
	return &clockGuest{vm, shared, ask, bufio.NewReader(answers)}
}

// tell asks the guest and returns its answer.
func (g *clockGuest) tell(t *testing.T, question string) string {
	t.Helper()
	if _, err := io.WriteString(g.ask, question+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := g.answers.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// offsets asks for the time again and again, and takes the quickest answer.
func (g *clockGuest) offsets(t *testing.T) offsets {
	t.Helper()
	best := offsets{bracket: time.Hour}
	for range 50 {
		wall0, mono0 := clocks()
		answer := g.tell(t, "time")
		_, mono1 := clocks()
		bracket := mono1 - mono0
		if bracket >= best.bracket {
			continue
		}
		var wall, mono time.Duration
		if _, err := fmt.Sscan(answer, &wall, &mono); err != nil {
			t.Fatalf("%v: %q", err, answer)
		}
		best = offsets{wall - wall0 - bracket/2, mono - mono0 - bracket/2, bracket}
	}
	if best.bracket > clockDrift {
		t.Errorf("the quickest answer took %v: too slow to compare clocks", best.bracket)
	}
	return best
}

// written is what the guest has written to the shared file so far.
func (g *clockGuest) written(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.shared, "lines"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// end ends the program and looks at its file, of which the host saw a part before.
func (g *clockGuest) end(t *testing.T, before []byte) {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(g.tell(t, "end"), &n); err != nil {
		t.Fatal(err)
	}
	if err := g.vm.Wait(); err != nil {
		t.Error(err)
	}
	var want bytes.Buffer
	for i := range n {
		fmt.Fprintln(&want, i)
	}
	text := g.written(t)
	if !bytes.Equal(text, want.Bytes()) {
		t.Errorf("the guest wrote %d lines; the file has %d bytes instead of %d", n, len(text), want.Len())
	}
	if len(before) == 0 || len(before) >= len(text) {
		t.Errorf("of %d bytes the guest had written %d when it was paused", len(text), len(before))
	}
	t.Logf("the guest wrote %d lines", n)
}

// writeAndTellTime is the guest's half: it writes numbered lines to a shared file,
// and answers questions.
func writeAndTellTime() error {
	f, err := os.Create("/shared/lines")
	if err != nil {
		return err
	}
	end, lines := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				lines <- n
				return
			case <-time.After(10 * time.Millisecond):
			}
			fmt.Fprintln(f, n)
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if strings.TrimSpace(in.Text()) == "end" {
			close(end)
			fmt.Println(<-lines)
			return f.Close()
		}
		wall, mono := clocks()
		fmt.Println(int64(wall), int64(mono))
	}
	return io.ErrUnexpectedEOF
}

// clocks reads CLOCK_REALTIME and CLOCK_MONOTONIC.
func clocks() (wall, mono time.Duration) {
	var r, m unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &r); err != nil {
		return 0, 0
	}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &m); err != nil {
		return 0, 0
	}
	return time.Duration(r.Nano()), time.Duration(m.Nano())
}
