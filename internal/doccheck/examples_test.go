package doccheck

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```")
	example = regexp.MustCompile(`(?ms)^func (Example\w*)\(\) \{\n(.*?)^\}`)
)

// Go code on a page is taken from an example of the root package, which the compiler
// reads: its lines stand there in the same order, with others between them.
func TestGoBlocksAreExamples(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(root, "example*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var examples [][]string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range example.FindAllStringSubmatch(string(text), -1) {
			examples = append(examples, codeLines(m[2]))
		}
	}
	blocks := 0
	for p := range files(t) {
		if filepath.Ext(p) != ".md" || strings.Contains(p, "testdata") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range goBlock.FindAllStringSubmatch(string(text), -1) {
			blocks++
			if !slices.ContainsFunc(examples, func(e []string) bool { return within(codeLines(m[1]), e) }) {
				t.Errorf("%s: this is not in any example:\n%s", p, m[1])
			}
		}
	}
	if blocks < 5 {
		t.Errorf("found only %d blocks of Go", blocks)
	}
}

// codeLines are the lines of some code without indentation and empty ones.
func codeLines(text string) (all []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// within reports whether all has some lines in their order.
func within(some, all []string) bool {
	for _, line := range some {
		i := slices.Index(all, line)
		if i < 0 {
			return false
		}
		all = all[i+1:]
	}
	return true
}

func TestWithin(t *testing.T) {
	all := []string{"a", "b", "c", "b"}
	for _, c := range []struct {
		some []string
		want bool
	}{
		{[]string{"a", "c"}, true}, {[]string{"b", "b"}, true}, {[]string{"c", "a"}, false}, {[]string{"b", "b", "b"}, false}, {[]string{"d"}, false},
	} {
		if within(c.some, all) != c.want {
			t.Errorf("%q: want %v", c.some, c.want)
		}
	}
}
