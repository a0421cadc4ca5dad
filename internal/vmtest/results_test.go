package vmtest

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestResults(t *testing.T) {
	for _, c := range []struct{ name, text, complaint string }{
		{"all ran", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", ""},
		{"nothing ran", "testing: warning: no tests to run\nPASS\n", "no test ran"},
		{"skipped", "=== RUN   TestA\n    a_test.go:1: why\n--- SKIP: TestA (0.00s)\nPASS\n", "skipped: TestA"},
		{"a part skipped", "=== RUN   TestA\n=== RUN   TestA/b\n--- PASS: TestA (0.00s)\n    --- SKIP: TestA/b (0.00s)\n=== RUN   TestC\n--- SKIP: TestC (0.00s)\n", "skipped: TestA/b, TestC"},
		{"an endless line", "=== RUN   TestA\n" + strings.Repeat("--- SKIP: x", maxLine) + "\n--- PASS: TestA (0.00s)\n", "skipped: x---"},
	} {
		for _, size := range []int{1, 7, len(c.text)} {
			var shown bytes.Buffer
			r := &Results{W: &shown}
			for text := []byte(c.text); len(text) > 0; {
				n, err := r.Write(text[:min(size, len(text))])
				if err != nil {
					t.Fatal(err)
				}
				text = text[n:]
			}
			if shown.String() != c.text {
				t.Errorf("%s, %d bytes at a time: shows %.200q", c.name, size, shown.String())
			}
			got := ""
			if err := r.Complaint(); err != nil {
				got = err.Error()
			}
			if c.complaint == "" && got != "" || !strings.HasPrefix(got, c.complaint) {
				t.Errorf("%s, %d bytes at a time: complains %.200q, want %q", c.name, size, got, c.complaint)
			}
			if cap(r.line) > 2*maxLine {
				t.Errorf("%s: %d bytes are kept", c.name, cap(r.line))
			}
		}
	}
}

// TestFailed: failed tests are known by their packages, and a few are worth another try.
func TestFailed(t *testing.T) {
	r := &Results{W: io.Discard}
	io.WriteString(r, `=== RUN   TestA
--- FAIL: TestA (0.00s)
    --- FAIL: TestA/b (0.00s)
FAIL
FAIL	example.org/a	0.1s
=== RUN   TestC
--- PASS: TestC (0.00s)
ok  	example.org/c	0.1s
FAIL	example.org/d [build failed]
=== RUN   TestE
--- FAIL: TestE (0.00s)
=== RUN   TestF
--- FAIL: TestF (0.00s)
FAIL	example.org/e	0.1s
FAIL
`)
	want := []FailedPackage{{"example.org/a", []string{"TestA"}}, {"example.org/d", []string{}}, {"example.org/e", []string{"TestE", "TestF"}}}
	if !reflect.DeepEqual(r.Packages, want) {
		t.Errorf("failed: %q, want %q", r.Packages, want)
	}
	for want, failed := range map[string][]string{"": {}, "^(TestA)$": {"TestA"}, "^(TestE|TestF)$": {"TestE", "TestF"}} {
		if run, why := Again(failed); run != want || (why == "") != (run == "") {
			t.Errorf("%q: run %q, because %q", failed, run, why)
		}
	}
	if run, _ := Again(make([]string, maxAgain+1)); run != "" {
		t.Errorf("so many run again: %q", run)
	}
}
