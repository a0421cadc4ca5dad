package monitor

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"unicode"
)

const (
	// tailSize is how much of the guest console is kept, in bytes.
	tailSize = 16 << 10
	// fileSize bounds the console_output file, in bytes: a guest can print for
	// ever, and the disk is the host's.
	fileSize = 256 << 20
	// tailLines is how many lines of it an error shows.
	tailLines = 20
)

// console receives what the guest's kernel prints: it keeps the last bytes for
// error messages and copies everything to the console_output file, which also
// gets the program's output.
type console struct {
	log *slog.Logger

	mu   sync.Mutex
	tail []byte
	file *os.File // nil without console_output, or after it could not be written
	room int      // what the file may still grow by, bytes
}

// newConsole creates or truncates the file at path; an empty path means none.
func newConsole(path string, log *slog.Logger) (*console, error) {
	c := &console{log: log, room: fileSize}
	if path == "" {
		return c, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("console_output: %w", err)
	}
	c.file = f
	return c, nil
}

// Write takes bytes of the guest's console. It never fails: the guest must not
// stop because the host's disk is full.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p...)
	if over := len(c.tail) - tailSize; over > 0 {
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	c.save(p)
	return len(p), nil
}

// output takes bytes of the program's standard output or error.
func (c *console) output(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.save(p)
}

func (c *console) save(p []byte) {
	if c.file == nil {
		return
	}
	full := len(p) > c.room
	p = p[:min(len(p), c.room)]
	c.room -= len(p)
	_, err := c.file.Write(p)
	if full && err == nil {
		_, err = io.WriteString(c.file, fullMark)
	}
	switch {
	case err != nil:
		c.log.Error("console_output is no longer written", "error", err)
	case full:
		c.log.Warn("console_output is full", "bytes", fileSize)
	default:
		return
	}
	c.file.Close()
	c.file = nil
}

// fullMark ends a file that got no more than it may hold.
const fullMark = "\n[holt: console_output is full; what follows is lost]\n"

// Close closes the file.
func (c *console) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
}

// lastLines returns the console's last lines, made safe for a terminal, each
// with a prefix. It is empty when the guest printed nothing.
func (c *console) lastLines(prefix string) string {
	c.mu.Lock()
	text := strings.ToValidUTF8(string(c.tail), "?")
	c.mu.Unlock()
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(prefix)
		b.WriteString(printable(line))
		b.WriteByte('\n')
	}
	return b.String()
}

// panicLine returns what the guest's kernel said when it panicked, if it did:
// the trace that follows may have pushed it out of the last lines.
func (c *console) panicLine() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	const mark = "Kernel panic - "
	text := string(c.tail)
	i := strings.LastIndex(text, mark)
	if i < 0 {
		return ""
	}
	line, _, _ := strings.Cut(text[i:], "\n")
	return printable(strings.TrimRight(strings.ToValidUTF8(line, "?"), "\r"))
}

// printable replaces what could command a terminal, and cuts long lines.
func printable(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, line)
	const most = 160
	if runes := []rune(line); len(runes) > most {
		line = string(runes[:most]) + "…"
	}
	return line
}

var _ io.Writer = (*console)(nil)
