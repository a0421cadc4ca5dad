package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is Holt's module path. Packages are named relative to it here, the
// root package being ".".
const module = "github.com/holtvm/holt"

// A source is one Go file of the tree. Every file is parsed, whatever its build
// constraints, so rules hold on all architectures and in all lanes.
type source struct {
	path    string // relative to the root, with slashes
	pkg     string // its directory, which names the package
	test    bool
	lines   int
	own     []string // imports of Holt's own packages, as directories
	foreign []string // all other imports
	fset    *token.FileSet
	syntax  *ast.File
}

// position says where n is, for a test's message.
func (s source) position(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// A tree is the whole module.
type tree struct {
	root    string   // absolute
	files   []string // every file outside skipped, relative, with slashes
	sources []source
}

// skipped are Git's directory and those that the build fills.
var skipped = []string{".git", "bin", "internal/agentbin/bin"}

// load returns the module around this package, read once for all tests.
func load(t *testing.T) tree {
	t.Helper()
	tr, err := readOnce()
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.sources) < 20 {
		t.Fatalf("found only %d Go files under %s", len(tr.sources), tr.root)
	}
	return tr
}

var readOnce = sync.OnceValues(read)

func read() (tree, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return tree{}, err
	}
	tr := tree{root: root}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && slices.Contains(skipped, rel) {
			return filepath.SkipDir
		}
		if d.Type().IsRegular() {
			tr.files = append(tr.files, rel)
		}
		return nil
	})
	if err != nil {
		return tree{}, err
	}
	for _, file := range tr.files {
		if !strings.HasSuffix(file, ".go") || slices.Contains(strings.Split(file, "/"), "testdata") {
			continue
		}
		s, err := parse(root, file)
		if err != nil {
			return tree{}, err
		}
		tr.sources = append(tr.sources, s)
	}
	return tr, nil
}

func parse(root, file string) (source, error) {
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		return source{}, err
	}
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{
		path:   file,
		pkg:    path.Dir(file),
		test:   strings.HasSuffix(file, "_test.go"),
		lines:  strings.Count(string(text), "\n"),
		fset:   fset,
		syntax: syntax,
	}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		if dir, own := strings.CutPrefix(imported, module+"/"); own {
			s.own = append(s.own, dir)
		} else if imported == module {
			s.own = append(s.own, ".")
		} else {
			s.foreign = append(s.foreign, imported)
		}
	}
	return s, nil
}

// matches reports whether pkg is what pattern names: itself, or, when pattern
// ends in "/...", that directory and everything under it.
func matches(pattern, pkg string) bool {
	dir, below := strings.CutSuffix(pattern, "/...")
	return pkg == dir || below && strings.HasPrefix(pkg, dir+"/")
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// testOnly reports whether pkg exists for tests: its name ends in "test", or it
// is under test/.
func testOnly(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || matches("test/...", pkg)
}
