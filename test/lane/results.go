package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// results passes on what a test binary prints with -test.v, and counts. The
// lane's tests need nothing that is not there, so one that skips itself has not
// found what it is for.
type results struct {
	w       io.Writer
	line    []byte // what came of the last line
	ran     int
	skipped []string
}

// maxLine is how much of a line is kept to look at, in bytes.
const maxLine = 4096

// Write implements io.Writer.
func (r *results) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		part := rest[:max(end, 0)]
		if end < 0 {
			part = rest
		}
		r.line = append(r.line, part[:min(len(part), maxLine-len(r.line))]...)
		if end < 0 {
			break
		}
		r.look(strings.TrimSpace(string(r.line)))
		r.line = r.line[:0]
		rest = rest[end+1:]
	}
	return r.w.Write(p)
}

func (r *results) look(line string) {
	if strings.HasPrefix(line, "=== RUN ") {
		r.ran++
	}
	if name, ok := strings.CutPrefix(line, "--- SKIP: "); ok {
		name, _, _ = strings.Cut(name, " ")
		r.skipped = append(r.skipped, name)
	}
}

// complaint is what is wrong with tests of which none failed.
func (r *results) complaint() error {
	if r.ran == 0 {
		return errors.New("no test ran")
	}
	if r.skipped != nil {
		return fmt.Errorf("skipped: %s", strings.Join(r.skipped, ", "))
	}
	return nil
}
