package holt

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func readConfigDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocsJSONParses(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(readConfigDoc(t), -1)
	if len(blocks) == 0 {
		t.Fatal("docs/config.md has no json block")
	}
	for _, block := range blocks {
		if _, err := ParseConfig([]byte(block[1])); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
}

// Each field has a row with its JSON name, its Go name and type, and a method
// of Builder.
func TestDocsListEveryField(t *testing.T) {
	doc := readConfigDoc(t)
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `(.+?)` \\| `(\\w+)` \\|").FindAllStringSubmatch(doc, -1)
	byName := make(map[string][]string)
	for _, row := range rows {
		byName[row[1]] = row
	}
	fields := reflect.VisibleFields(reflect.TypeFor[Config]())
	if len(rows) != len(fields) {
		t.Errorf("%d rows for %d fields", len(rows), len(fields))
	}
	for _, field := range fields {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		row := byName[name]
		if row == nil {
			t.Errorf("no row for %s", name)
			continue
		}
		want := field.Name + " " + strings.ReplaceAll(field.Type.String(), "holt.", "")
		if row[2] != want {
			t.Errorf("%s is documented as %q, want %q", name, row[2], want)
		}
		if _, found := reflect.TypeFor[*Builder]().MethodByName(row[3]); !found {
			t.Errorf("%s: Builder has no method %s", name, row[3])
		}
	}
}

func TestDocsGrammarExamples(t *testing.T) {
	parsers := map[string]func(string) (fmt.Stringer, error){
		"path pair":    func(s string) (fmt.Stringer, error) { return ParsePathPair(s) },
		"port pair":    func(s string) (fmt.Stringer, error) { return ParsePortPair(s) },
		"disk":         func(s string) (fmt.Stringer, error) { return ParseDisk(s) },
		"network mode": func(s string) (fmt.Stringer, error) { return ParseNetworkMode(s) },
		"network rule": func(s string) (fmt.Stringer, error) { return ParseNetworkRule(s) },
		"env pair":     func(s string) (fmt.Stringer, error) { return ParseEnvPair(s) },
		"rlimit":       func(s string) (fmt.Stringer, error) { return ParseRlimit(s) },
		"log level":    func(s string) (fmt.Stringer, error) { return ParseLogLevel(s) },
	}
	rows := regexp.MustCompile("(?m)^\\| ([a-z ]+) \\| `(.*)` \\| (.*) \\|$").FindAllStringSubmatch(readConfigDoc(t), -1)
	seen := make(map[string]int)
	for _, row := range rows {
		kind, text, want := row[1], row[2], strings.Trim(row[3], "`")
		parse := parsers[kind]
		if parse == nil {
			t.Errorf("row %q: no such grammar", row[0])
			continue
		}
		seen[kind]++
		value, err := parse(text)
		switch {
		case want == "error" && err == nil:
			t.Errorf("%s %q is read as %q, documented as an error", kind, text, value)
		case want != "error" && (err != nil || value.String() != want):
			t.Errorf("%s %q is read as %q, %v, documented as %q", kind, text, value, err, want)
		}
	}
	for kind := range parsers {
		if seen[kind] < 2 {
			t.Errorf("%d examples of %s", seen[kind], kind)
		}
	}
}

// Every method for VMs, their programs and files is named on the page about the package.
func TestDocsNameEveryMethod(t *testing.T) {
	text, err := os.ReadFile("docs/go-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[*VM](), reflect.TypeFor[*Cmd](), reflect.TypeFor[*FS]()} {
		for method := range typ.Methods() {
			if !regexp.MustCompile(`\b` + method.Name + `\b`).Match(text) {
				t.Errorf("docs/go-api.md does not name %s of %v", method.Name, typ)
			}
		}
	}
}
