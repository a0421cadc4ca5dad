package holt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

var errSet = errors.New("the command has that stream already")

// Output runs the command and returns its standard output, all of which it holds in
// memory. If Stderr is nil, an *ExitError has what the program said there.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, fmt.Errorf("stdout: %w", errSet)
	}
	var out bytes.Buffer
	var said ends
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &said
	}
	err := c.finish()
	if exit, ok := errors.AsType[*ExitError](err); ok {
		exit.Stderr = said.Bytes()
	}
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and standard error
// in one, all of which it holds in memory.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, fmt.Errorf("stdout or stderr: %w", errSet)
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.finish()
	return out.Bytes(), err
}

// finish is Run with writers that never block, and that nothing writes to afterwards.
func (c *Cmd) finish() error {
	if err := c.Start(); err != nil {
		return err
	}
	<-c.done
	return c.Wait()
}

// StdinPipe returns a pipe to the program's standard input. Close ends the input. A
// write fails with io.ErrClosedPipe once the program cannot read it.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil || c.writes {
		return nil, fmt.Errorf("stdin: %w", errSet)
	}
	c.writes = true
	return stdinPipe{c}, nil
}

// stdinPipe waits for the program's start.
type stdinPipe struct{ cmd *Cmd }

// Write implements io.Writer.
func (p stdinPipe) Write(b []byte) (int, error) {
	<-p.cmd.ready
	if p.cmd.session == nil {
		return 0, io.ErrClosedPipe
	}
	return p.cmd.session.Stdin().Write(b)
}

// Close implements io.Closer.
func (p stdinPipe) Close() error {
	<-p.cmd.ready
	if p.cmd.session == nil {
		return nil
	}
	return p.cmd.session.Stdin().Close()
}

// StdoutPipe returns a pipe from the program's standard output. Wait closes it, so
// everything is to be read before.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) { return c.outputPipe("stdout", &c.Stdout) }

// StderrPipe is StdoutPipe for standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) { return c.outputPipe("stderr", &c.Stderr) }

// outputPipe takes the kernel's pipes: each holds a little, so a caller may read one
// stream after the other as long as the other is short.
func (c *Cmd) outputPipe(name string, stream *io.Writer) (io.ReadCloser, error) {
	if *stream != nil {
		return nil, fmt.Errorf("%s: %w", name, errSet)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*stream = w
	c.readers, c.writers = append(c.readers, r), append(c.writers, w)
	return r, nil
}

func closeAll(lists ...[]io.Closer) {
	for _, list := range lists {
		for _, c := range list {
			_ = c.Close() // it may be closed
		}
	}
}

// endSize is how much of either end is kept by ends, in bytes.
const endSize = 32 << 10

// ends keeps the beginning and the end of what is written to it.
type ends struct {
	first, last []byte
	skipped     int
}

// Write implements io.Writer.
func (e *ends) Write(b []byte) (int, error) {
	room := min(endSize-len(e.first), len(b))
	e.first = append(e.first, b[:room]...)
	e.last = append(e.last, b[room:]...)
	if over := len(e.last) - endSize; over > 0 {
		e.skipped += over
		e.last = append(e.last[:0], e.last[over:]...)
	}
	return len(b), nil
}

// Bytes is what is kept, with a note in the place of what is not.
func (e *ends) Bytes() []byte {
	if e.skipped == 0 {
		return append(e.first, e.last...)
	}
	return append(fmt.Appendf(e.first, "\n… %d bytes are left out …\n", e.skipped), e.last...)
}
