package main

import (
	"bytes"
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
			r := &results{w: &shown}
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
			if err := r.complaint(); err != nil {
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
