package archtest

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxLines is the length of a Go file, in lines, beyond which it is certainly
// more than one thing.
const maxLines = 500

func TestFilesAreShort(t *testing.T) {
	for _, s := range load(t).sources {
		if s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: it is more than one thing", s.path, s.lines, maxLines)
		}
	}
}

// A newcomer learns what a package is for from its comment.
func TestPackagesSayWhatTheyAreFor(t *testing.T) {
	said := map[string]bool{}
	for _, s := range load(t).sources {
		doc := s.syntax.Doc.Text()
		name := s.syntax.Name.Name
		ok := strings.HasPrefix(doc, "Package "+name+" ")
		if name == "main" {
			ok = strings.HasPrefix(doc, "Command "+filepath.Base(s.pkg)+" ")
		}
		said[s.pkg] = said[s.pkg] || ok
	}
	for _, pkg := range slices.Sorted(maps.Keys(said)) {
		if !said[pkg] {
			t.Errorf("%s has no comment that starts with %q or, for a main package, %q", pkg, "Package <name> ", "Command <name> ")
		}
	}
}

// A path of the machine that the code was written on means nothing elsewhere.
// Short checkout paths could also be meant as a guest's, so only one of two
// elements or more counts, and nothing under the temporary directory.
func TestNoPathsOfThisMachine(t *testing.T) {
	tr := load(t)
	if strings.Count(tr.root, "/") < 2 || strings.HasPrefix(tr.root, os.TempDir()+"/") {
		return
	}
	here := regexp.MustCompile(`(^|[^\w/.-])` + regexp.QuoteMeta(tr.root) + `($|[^\w-])`)
	for _, file := range tr.files {
		text, err := os.ReadFile(filepath.Join(tr.root, file))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		if at := here.FindIndex(text); at != nil {
			t.Errorf("%s:%d names the checkout's own path", file, 1+bytes.Count(text[:at[1]], []byte("\n")))
		}
	}
}
