package monitor

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/outlog"
)

func TestConsoleKeepsTheEnd(t *testing.T) {
	c, err := newConsole(Spec{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.lastLines("| "); got != "" {
		t.Errorf("an empty console shows %q", got)
	}
	for i := range 100_000 {
		fmt.Fprintf(c, "line %d\r\n", i)
	}
	if n := len(c.tail.String()); n != tailSize {
		t.Errorf("%d bytes are kept", n)
	}
	got := strings.Split(strings.TrimSpace(c.lastLines("| ")), "\n")
	if len(got) != tailLines || got[0] != "| line 99980" || got[tailLines-1] != "| line 99999" {
		t.Errorf("last lines %q", got)
	}
}

func TestConsoleCannotCommandATerminal(t *testing.T) {
	c, _ := newConsole(Spec{}, slog.New(slog.DiscardHandler))
	fmt.Fprint(c, "\x1b]0;owned\x07\x1b[2Jclear\tme\xff\u202e\n"+strings.Repeat("long", 1000))
	for _, r := range c.lastLines("") {
		if r != '\n' && (r < ' ' || r == 0x7f || r == 0x202e) {
			t.Errorf("%q passed", r)
		}
	}
	if n := len(c.lastLines("")); n > 300 {
		t.Errorf("%d bytes of two lines", n)
	}
}

func TestConsoleFindsThePanic(t *testing.T) {
	c, _ := newConsole(Spec{}, slog.New(slog.DiscardHandler))
	fmt.Fprint(c, "fine\n")
	if got := c.panicLine(); got != "" {
		t.Errorf("a panic where there is none: %q", got)
	}
	fmt.Fprint(c, "[ 1.0] Kernel panic - not syncing: otter\r\n"+strings.Repeat("trace\n", 100))
	if got := c.panicLine(); got != "Kernel panic - not syncing: otter" {
		t.Errorf("panic line %q", got)
	}
}

func TestConsoleOutputFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	if err := os.WriteFile(path, []byte("what was there before"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newConsole(Spec{ConsoleOutput: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "kernel\n")
	c.output([]byte("program\n"))
	c.Close()
	c.output([]byte("late\n"))
	if b, err := os.ReadFile(path); err != nil || string(b) != "kernel\nprogram\n" {
		t.Errorf("file %q, %v", b, err)
	}
	if strings.Contains(c.lastLines(""), "program") {
		t.Error("the program's output is in the kernel's console")
	}
	if _, err := newConsole(Spec{ConsoleOutput: filepath.Join(path, "x")}, nil); err == nil || !strings.Contains(err.Error(), "console_output") {
		t.Errorf("a path below a file: %v", err)
	}
}

// TestConsoleSurvivesAFullDisk: the guest goes on when its console cannot be
// kept.
func TestConsoleSurvivesAFullDisk(t *testing.T) {
	var log strings.Builder
	c, err := newConsole(Spec{ConsoleOutput: "/dev/full"}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := c.Write([]byte("text\n")); n != 5 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	c.Close() // does not wait for ever
	if !strings.Contains(log.String(), "no longer written") {
		t.Errorf("logged %q", log.String())
	}
}

// TestTail: what is kept is the end, however it came.
func TestTail(t *testing.T) {
	var all strings.Builder
	for i := range 3 * tailSize {
		all.WriteByte(byte('a' + i%26 + i/1000%2))
	}
	text := all.String()
	for _, size := range []int{1, 7, 16, tailSize - 1, tailSize, tailSize + 1, len(text)} {
		var kept tail
		for b := []byte(text); len(b) > 0; b = b[min(size, len(b)):] {
			kept.write(b[:min(size, len(b))])
		}
		if kept.String() != text[len(text)-tailSize:] {
			t.Errorf("written %d bytes at a time, the end is not kept", size)
		}
	}
}

// fifo is a console whose file nobody reads until the returned end is read.
func fifo(t *testing.T) (*console, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "console")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c, err := newConsole(Spec{ConsoleOutput: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

// TestConsoleDoesNotWait: the guest's kernel prints on while the file cannot be
// written, memory is bounded, the program waits, and what is lost is said.
func TestConsoleDoesNotWait(t *testing.T) {
	c, r := fifo(t)
	const line = "a line of the kernel\n"
	const most = fileBuffer + 256<<10 // and what the FIFO and the writer hold
	for range 4 * fileBuffer / len(line) {
		if n, err := c.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		for range 4 * fileBuffer / 1000 {
			c.output(bytes.Repeat([]byte("p"), 1000))
		}
	}()
	select {
	case <-waited:
		t.Error("the program did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	c.file.mu.Lock()
	if n := len(c.file.waiting); n > fileBuffer {
		t.Errorf("%d bytes are buffered", n)
	}
	c.file.mu.Unlock()
	got := make(chan string)
	go func() {
		var all strings.Builder
		b := make([]byte, 64<<10)
		for !strings.HasSuffix(all.String(), "the end") {
			n, err := r.Read(b)
			if err != nil {
				break
			}
			all.Write(b[:n])
		}
		got <- all.String()
	}()
	<-waited
	c.output([]byte("the end"))
	c.Close()
	text := <-got
	if n := strings.Count(text, "p"); n < 4*fileBuffer/1000*1000 {
		t.Errorf("%d bytes of the program", n)
	}
	if n := strings.Count(text, line) * len(line); n > most {
		t.Errorf("%d bytes of the kernel, more than could wait", n)
	}
	// Each loss is told where it was: more than one if the writer was late.
	lost := 0
	for _, m := range regexp.MustCompile(`\[holt: (\d+) bytes of the guest's console are lost`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		lost += n
	}
	if printed := 4 * fileBuffer / len(line) * len(line); lost+strings.Count(text, line)*len(line) != printed {
		t.Errorf("of %d bytes of the kernel %d are told as lost and %d are there", printed, lost, strings.Count(text, line)*len(line))
	}
}

// TestConsoleLostAtTheEnd: a loss that nothing follows is said, too.
func TestConsoleLostAtTheEnd(t *testing.T) {
	c, r := fifo(t)
	for range 2 * fileBuffer / 16 {
		fmt.Fprint(c, "sixteen bytes..\n")
	}
	go c.Close()
	var all strings.Builder
	b := make([]byte, 64<<10)
	for !strings.Contains(all.String(), "are lost") {
		n, err := r.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b[:n])
	}
}

// TestConsoleFIFOThatNobodyReads: there is an error at once, and nothing that waits.
func TestConsoleFIFOThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := newConsole(Spec{ConsoleOutput: path}, slog.New(slog.DiscardHandler))
	if err == nil {
		c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "start its reader first") {
		t.Errorf("error %v", err)
	}
}

// TestKillDoesNotWaitForTheConsole: a VM that nobody waits for ends, whoever reads its
// console's file, or does not.
func TestKillDoesNotWaitForTheConsole(t *testing.T) {
	c, _ := fifo(t)
	client, theirs := net.Pipe()
	i := &instance{program: newProgram(c, nil), kill: func(error) { c.abandon() }}
	go i.serveFirst(newClient(theirs, true))
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		for range 4 * fileBuffer / 1000 {
			c.output(make([]byte, 1000))
		}
	}()
	select {
	case <-printed:
		t.Error("the program did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	client.Close() // which is how a VM is killed
	<-printed
	c.Close()
}

// TestDeathDoesNotWaitForTheConsole: that the guest is dead is told, even if nobody
// reads the console's file, and one that is read gets everything.
func TestDeathDoesNotWaitForTheConsole(t *testing.T) {
	for _, read := range []bool{false, true} {
		c, r := fifo(t)
		const lines = 4 * fileBuffer / 1000
		all := make(chan error, 1)
		if read {
			go func() {
				_, err := io.CopyN(io.Discard, r, lines*1000)
				all <- err
			}()
		}
		p := newProgram(c, nil)
		printed := make(chan struct{})
		go func() {
			defer close(printed)
			for range lines {
				p.keep(outlog.Stdout, make([]byte, 1000))
			}
		}()
		p.hurry()
		<-printed
		c.Close()
		if read {
			if err := <-all; err != nil {
				t.Error(err)
			}
		}
	}
}

// TestConsoleManyWriters is for the race detector: the serial port, the virtio
// console and the program have goroutines of their own.
func TestConsoleManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	c, err := newConsole(Spec{ConsoleOutput: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const each = 2000
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range each {
				fmt.Fprint(c, "kernel\n")
			}
		})
	}
	wg.Go(func() {
		for range each {
			c.output([]byte("program\n"))
			c.lastLines("")
			c.panicLine()
		}
	})
	wg.Wait()
	c.Close()
	b, err := os.ReadFile(path)
	if got := strings.Count(string(b), "kernel\n"); err != nil || got != 2*each || strings.Count(string(b), "program\n") != each {
		t.Errorf("%d lines of the kernel, %v", got, err)
	}
}
