package monitor

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/holtvm/holt/internal/outlog"
	"github.com/holtvm/holt/internal/state"
)

const (
	// tailSize is how much of the guest console is kept, in bytes.
	tailSize = 16 << 10
	// tailLines is how many lines of it an error shows.
	tailLines = 20
)

// console receives what the guest's kernel prints, on its serial port and its
// virtio console: it keeps the last bytes for error messages and copies everything
// to the console_output file, which also gets the program's output, and to the log of
// a VM that is kept. Its methods may be called from any goroutine.
type console struct {
	file *consoleFile // nil without console_output
	kept *consoleFile // nil unless the VM is kept

	mu   sync.Mutex
	tail tail
}

// newConsole opens the files that the specification asks for. The console is of use
// even with an error, without the files.
func newConsole(spec Spec, log *slog.Logger) (*console, error) {
	c := &console{}
	if spec.ConsoleOutput != "" {
		var err error
		if c.file, err = openConsoleFile(spec.ConsoleOutput, log); err != nil {
			return c, err
		}
	}
	if spec.Kept {
		w, err := outlog.Open(spec.Dir, state.ConsoleLog, outlog.DefaultLimit)
		if err != nil {
			c.Close()
			return &console{}, fmt.Errorf("keep the guest's console: %w", err)
		}
		c.kept = newConsoleFile("the console's log", consoleLog{w}, math.MaxInt, log)
	}
	return c, nil
}

// files are those that there are.
func (c *console) files() []*consoleFile {
	return slices.DeleteFunc([]*consoleFile{c.file, c.kept}, func(f *consoleFile) bool { return f == nil })
}

// Write takes bytes of the guest's console. It neither fails nor waits for the
// host's disk: the guest's processors wait for it meanwhile.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail.write(p)
	if c.file != nil {
		c.file.offer(p)
	}
	if c.kept != nil {
		c.kept.offer(p)
	}
	return len(p), nil
}

// output takes bytes of the program's standard output or error. It may wait for the
// host's disk, and so hold back the program.
func (c *console) output(p []byte) {
	if c.file != nil {
		c.file.add(p)
	}
}

// abandon is called when nobody waits for this VM any more: whoever does not read the
// file cannot make it wait from now on.
func (c *console) abandon() {
	if c.file != nil {
		c.file.abandon()
	}
}

// hurry is called when the guest is dead, see consoleFile.
func (c *console) hurry() {
	if c.file != nil {
		go c.file.hurry()
	}
}

// Close returns when the files are written and closed.
func (c *console) Close() {
	for _, f := range c.files() {
		f.Close()
	}
}

// tail keeps the last tailSize bytes of what is written to it.
type tail struct {
	ring [tailSize]byte
	n    int // bytes written in all
}

func (t *tail) write(p []byte) {
	for len(p) > 0 {
		k := copy(t.ring[t.n%tailSize:], p)
		t.n += k
		p = p[k:]
	}
}

func (t *tail) String() string {
	if t.n <= tailSize {
		return string(t.ring[:t.n])
	}
	at := t.n % tailSize
	return string(t.ring[at:]) + string(t.ring[:at])
}

// lastLines returns the console's last lines, made safe for a terminal, each
// with a prefix. It is empty when the guest printed nothing.
func (c *console) lastLines(prefix string) string {
	c.mu.Lock()
	text := strings.ToValidUTF8(c.tail.String(), "?")
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
	text := c.tail.String()
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
