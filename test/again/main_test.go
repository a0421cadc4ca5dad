package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestRun: a test that fails once is no failure; one that fails twice, one that takes the
// others with it, and what cannot be compiled are.
func TestRun(t *testing.T) {
	const once = `
func TestOnce(t *testing.T) {
	if _, err := os.Stat("been"); err != nil {
		os.WriteFile("been", nil, 0o600)
		t.Error("the first time")
	}
}
`
	for name, c := range map[string]struct{ body, want string }{
		"passes":      {`func TestFine(t *testing.T) { os.Getpid() }`, ""},
		"fails once":  {once, ""},
		"fails twice": {once + `func TestTwice(t *testing.T) { t.Error("always") }`, "failed: example.org/p"},
		"dies":        {`func TestDies(t *testing.T) { os.Exit(3) }`, "failed: example.org/p"},
		"is wrong":    {`func TestWrong(t *testing.T) { os.None() }`, "failed: example.org/p"},
		"many fail": {once + strings.ReplaceAll(once, "Once", "A") + strings.ReplaceAll(once, "Once", "B") + `
func TestC(t *testing.T) { TestOnce(t); os.Remove("been") }
func TestD(t *testing.T) { TestOnce(t); os.Remove("been") }
func TestE(t *testing.T) { TestOnce(t); os.Remove("been") }
func TestF(t *testing.T) { TestOnce(t); os.Remove("been") }
`, "failed: example.org/p"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for file, text := range map[string]string{
				"go.mod": "module example.org/p\n", "p_test.go": "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n" + c.body,
			} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := ""
			var out bytes.Buffer
			if err := run(t.Context(), &out, []string{"-v", "-vet=off", "-count=1"}, []string{"./..."}); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("error %q, want %q; it printed %q", got, c.want, out.String())
			}
		})
	}
}
