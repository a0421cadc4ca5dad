package doccheck

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testRef is how a page names a test: its package's directory, or "holt" for the
// root package, and the function.
var testRef = regexp.MustCompile(`^([\w./-]+)\.((?:Test|Fuzz|Benchmark|Example)\w*)$`)

// cutTest takes a testRef apart; the root package's directory is ".".
func cutTest(text string) (dir, function string, ok bool) {
	m := testRef.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	if m[1] == "holt" {
		return ".", m[2], true
	}
	return m[1], m[2], true
}

// functions are the tests, fuzz targets and benchmarks of a package.
func functions(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`).FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1])
		}
	}
	return found
}

func TestNamedTestsExist(t *testing.T) {
	known := map[string][]string{}
	for _, p := range pages(t, files(t)) {
		for _, m := range code.FindAllStringSubmatch(p.prose, -1) {
			dir, function, ok := cutTest(m[1])
			if !ok {
				continue
			}
			if known[dir] == nil {
				known[dir] = functions(t, dir)
			}
			if !slices.Contains(known[dir], function) {
				t.Errorf("%s names `%s`: there is no such test", p.path, m[1])
			}
		}
	}
}

// promise is a row of SPEC.md.
type promise struct{ number, promise, figure, heldBy string }

// specRows reads the rows of all tables, save their heads.
func specRows(text string) []promise {
	var rows []promise
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| # |") || strings.HasPrefix(line, "| ---") {
			continue
		}
		var p promise
		cells := strings.Split(line, "|")
		for i, cell := range []*string{&p.number, &p.promise, &p.figure, &p.heldBy} {
			if i+1 < len(cells) {
				*cell = strings.TrimSpace(cells[i+1])
			}
		}
		rows = append(rows, p)
	}
	return rows
}

// benchName is how a row names a part of the benchmark program.
var benchName = regexp.MustCompile("`test/bench` `([\\w-]+)`")

// Each promise has a number of its own and is held by a test or a benchmark, or
// says that it is pending.
func TestEveryPromiseIsHeld(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	bench, err := os.ReadFile(filepath.Join(root, "test/bench/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	rows := specRows(string(text))
	if len(rows) < 40 {
		t.Errorf("found only %d rows", len(rows))
	}
	for i, row := range rows {
		if row.number != strconv.Itoa(i+1) {
			t.Errorf("row %d has the number %q", i+1, row.number)
		}
		if row.promise == "" {
			t.Errorf("row %s promises nothing", row.number)
		}
		held := false
		for _, m := range code.FindAllStringSubmatch(row.heldBy, -1) {
			_, _, test := cutTest(m[1])
			held = held || test
		}
		for _, m := range benchName.FindAllStringSubmatch(row.heldBy, -1) {
			held = true
			if !strings.Contains(string(bench), `{"`+m[1]+`", `) {
				t.Errorf("row %s: test/bench has no part %q", row.number, m[1])
			}
		}
		if pending := row.heldBy == "pending"; pending == held {
			t.Errorf("row %s (%s): held by %q", row.number, row.promise, row.heldBy)
		}
	}
}
