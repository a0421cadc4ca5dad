package monitor

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConsoleKeepsTheEnd(t *testing.T) {
	c, err := newConsole("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.lastLines("| "); got != "" {
		t.Errorf("an empty console shows %q", got)
	}
	for i := range 100_000 {
		fmt.Fprintf(c, "line %d\r\n", i)
	}
	if n := len(c.tail); n > tailSize {
		t.Errorf("%d bytes are kept", n)
	}
	got := strings.Split(strings.TrimSpace(c.lastLines("| ")), "\n")
	if len(got) != tailLines || got[0] != "| line 99980" || got[tailLines-1] != "| line 99999" {
		t.Errorf("last lines %q", got)
	}
}

func TestConsoleCannotCommandATerminal(t *testing.T) {
	c, _ := newConsole("", slog.New(slog.DiscardHandler))
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
	c, _ := newConsole("", slog.New(slog.DiscardHandler))
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
	c, err := newConsole(path, slog.New(slog.DiscardHandler))
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
	if _, err := newConsole(filepath.Join(path, "x"), nil); err == nil || !strings.Contains(err.Error(), "console_output") {
		t.Errorf("a path below a file: %v", err)
	}
}

// TestConsoleSurvivesAFullDisk: the guest goes on when its console cannot be
// kept.
func TestConsoleSurvivesAFullDisk(t *testing.T) {
	c, err := newConsole("/dev/full", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := c.Write([]byte("text\n")); n != 5 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	if c.file != nil {
		t.Error("the file is still tried")
	}
}
