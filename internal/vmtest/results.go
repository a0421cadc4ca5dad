package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Results passes on what test binaries print with -test.v, and notes what became of
// their tests.
type Results struct {
	W io.Writer

	Ran     int      // tests and subtests
	Skipped []string // tests and subtests
	Failed  []string // tests
	// Packages are those that go test says have failed, each with its tests that did.
	Packages []FailedPackage

	line []byte // what came of the last line
}

// FailedPackage is a package of which tests have failed, or that failed as a whole.
type FailedPackage struct {
	Name   string
	Failed []string // tests
}

// maxLine is how much of a line is kept to look at, in bytes.
const maxLine = 4096

// Write implements io.Writer.
func (r *Results) Write(p []byte) (int, error) {
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
		r.look(string(r.line))
		r.line = r.line[:0]
		rest = rest[end+1:]
	}
	return r.W.Write(p)
}

func (r *Results) look(line string) {
	if strings.HasPrefix(line, "=== RUN ") {
		r.Ran++
	}
	if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
		r.Failed = append(r.Failed, firstWord(name))
	}
	if pkg, ok := strings.CutPrefix(line, "FAIL\t"); ok {
		pkg, _, _ = strings.Cut(pkg, "\t")
		tests := r.Failed
		for _, p := range r.Packages {
			tests = tests[len(p.Failed):]
		}
		r.Packages = append(r.Packages, FailedPackage{firstWord(pkg), tests})
	}
	if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- SKIP: "); ok {
		r.Skipped = append(r.Skipped, firstWord(name))
	}
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// Complaint is what is wrong with tests of which none failed, and none may be skipped.
func (r *Results) Complaint() error {
	if r.Ran == 0 {
		return errors.New("no test ran")
	}
	if r.Skipped != nil {
		return fmt.Errorf("skipped: %s", strings.Join(r.Skipped, ", "))
	}
	return nil
}

// maxAgain is how many failed tests are worth another try.
const maxAgain = 3

// Again is the -test.run expression of tests that failed, and what to say about running
// them once more: emulated processors fail now and then, see docs/testing.md. It is empty
// if there are none, or so many that it is no accident.
func Again(failed []string) (run, why string) {
	if len(failed) == 0 || len(failed) > maxAgain {
		return "", ""
	}
	return "^(" + strings.Join(failed, "|") + ")$", strings.Join(failed, ", ") + " failed. An emulated processor does now and then, so it is tried again, once"
}
