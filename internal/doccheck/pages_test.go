package doccheck

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// A page is one Markdown file.
type page struct {
	path     string // relative to the root, with slashes
	prose    string // without fenced blocks; every line is at its place
	headings []string
}

// made are directories whose content the build makes: pages may name files in
// them that are not there yet.
var made = []string{"bin", "internal/agentbin/bin"}

const root = "../.."

// files returns every file and directory of the tree, relative to its root.
func files(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == ".git" || slices.Contains(made, name) {
			return fs.SkipDir
		}
		found[name] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// pages reads all Markdown among tree.
func pages(t *testing.T, tree map[string]bool) []page {
	t.Helper()
	var all []page
	for name := range tree {
		if path.Ext(name) != ".md" || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(name, string(text)))
	}
	if len(all) < 5 {
		t.Fatalf("found only %d pages", len(all))
	}
	return all
}

func parse(name, text string) page {
	p := page{path: name}
	fenced := false
	for line := range strings.Lines(text) {
		switch fence := strings.HasPrefix(strings.TrimSpace(line), "```"); {
		case fence:
			fenced = !fenced
			line = "\n"
		case fenced:
			line = "\n"
		case strings.HasPrefix(line, "#"):
			p.headings = append(p.headings, anchor(strings.TrimLeft(line, "# ")))
		}
		p.prose += line
	}
	return p
}

// anchor is the fragment by which a heading is linked to.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

var (
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code = regexp.MustCompile("`([^`]+)`")
	// repoPath is a path below the root; fileName a file whose place the text
	// around it tells.
	repoPath = regexp.MustCompile(`^[\w.-]+(/[\w.*-]+)+/?$`)
	fileName = regexp.MustCompile(`^[\w-]+\.(go|md)$`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	tree := files(t)
	all := pages(t, tree)
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, fragment, hasFragment := strings.Cut(m[1], "#")
			target := p.path
			if file != "" {
				target = path.Join(path.Dir(p.path), file)
			}
			if !tree[target] {
				t.Errorf("%s links to %s, which does not exist", p.path, m[1])
				continue
			}
			i := slices.IndexFunc(all, func(q page) bool { return q.path == target })
			if hasFragment && (i < 0 || !slices.Contains(all[i].headings, fragment)) {
				t.Errorf("%s links to %s: there is no such heading", p.path, m[1])
			}
		}
	}
}

func TestNamedFilesExist(t *testing.T) {
	tree := files(t)
	names := 0
	for _, p := range pages(t, tree) {
		for _, m := range code.FindAllStringSubmatch(p.prose, -1) {
			name, known := nameOfFile(tree, m[1])
			if !known {
				continue
			}
			names++
			if !exists(tree, name) {
				t.Errorf("%s names `%s`, which does not exist", p.path, m[1])
			}
		}
	}
	if names < 50 {
		t.Errorf("found only %d names of files: does the test still read the pages?", names)
	}
}

// nameOfFile says whether text in backticks means a file or directory of this
// tree, and which.
func nameOfFile(tree map[string]bool, text string) (string, bool) {
	if fileName.MatchString(text) {
		return text, true
	}
	text = strings.TrimSuffix(text, "/...")
	if dir, _, ok := cutTest(text); ok {
		text = dir
	}
	top, _, _ := strings.Cut(text, "/")
	if !repoPath.MatchString(text) || !tree[top] {
		return "", false
	}
	for _, dir := range made {
		if strings.HasPrefix(text, dir+"/") {
			return "", false
		}
	}
	return strings.TrimSuffix(text, "/"), true
}

func exists(tree map[string]bool, name string) bool {
	if tree[name] {
		return true
	}
	for f := range tree {
		if match, _ := path.Match(name, f); match {
			return true
		}
		if !strings.Contains(name, "/") && path.Base(f) == name {
			return true
		}
	}
	return false
}

// Were the rules above to match nothing, the tests would pass on any page.
func TestNameOfFile(t *testing.T) {
	tree := map[string]bool{"internal": true, "internal/cli": true, "internal/cli/cli.go": true, "docs": true}
	for _, c := range []struct {
		text          string
		known, exists bool
	}{
		{"internal/cli/cli.go", true, true},
		{"internal/cli/", true, true},
		{"internal/cli/...", true, true},
		{"internal/*/cli.go", true, true},
		{"internal/cli.TestRun", true, true},
		{"cli.go", true, true},
		{"internal/cli/gone.go", true, false},
		{"internal/gone.TestRun", true, false},
		{"gone.md", true, false},
		{"docs/gone.md", true, false},
		{"/etc/passwd", false, false},
		{"usr/bin", false, false},
		{"holt run", false, false},
		{"internal/agentbin/bin/holt-agent", false, false},
	} {
		name, known := nameOfFile(tree, c.text)
		if known != c.known || known && exists(tree, name) != c.exists {
			t.Errorf("%q: known %v, want %v; as %q it exists: %v, want %v", c.text, known, c.known, name, exists(tree, name), c.exists)
		}
	}
	if got := anchor("What the guest's `root` can do"); got != "what-the-guests-root-can-do" {
		t.Errorf("anchor is %q", got)
	}
}
