package archtest

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unsafeName is the name of a file that may use unsafe. An architecture may
// follow, so that the file's name keeps its build constraint.
var unsafeName = regexp.MustCompile(`_unsafe(_amd64|_arm64)?(_test)?\.go$`)

// Whoever reviews memory safety reads the quarantined files and no others.
func TestUnsafeIsQuarantined(t *testing.T) {
	for _, s := range load(t).sources {
		if slices.Contains(s.foreign, "C") {
			t.Errorf("%s uses cgo: Holt is pure Go", s.path)
		}
		if unsafeName.MatchString(s.path) {
			continue
		}
		if slices.Contains(s.foreign, "unsafe") {
			t.Errorf("%s imports unsafe: that belongs in a file named *_unsafe.go", s.path)
		}
		for _, group := range s.syntax.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					t.Errorf("%s: go:linkname belongs in a file named *_unsafe.go", s.position(c))
				}
			}
		}
		for _, name := range []string{"SliceHeader", "StringHeader"} {
			for _, n := range selections(s, "reflect", name) {
				t.Errorf("%s: reflect.%s belongs in a file named *_unsafe.go", s.position(n), name)
			}
		}
	}
}

// mappers are the packages that may map memory, each with what it maps.
var mappers = map[string]string{
	"internal/guestmem":   "guest memory",
	"internal/agent":      "the files of kernel modules, inside the guest",
	"internal/kvmapi":     "a vCPU's kvm_run page",
	"internal/hypervisor": "the few pages of the probe's trial VM, whose code is ours",
}

// Only guestmem turns a guest address into a slice. A second mapping would be a
// second bounds check.
func TestGuestMemoryIsMappedOnce(t *testing.T) {
	for _, s := range load(t).sources {
		if s.test || testOnly(s.pkg) || mappers[s.pkg] != "" {
			continue
		}
		for _, pkg := range []string{"unix", "syscall"} {
			for _, n := range slices.Concat(selections(s, pkg, "Mmap"), selections(s, pkg, "MmapPtr"), selections(s, pkg, "SYS_MMAP")) {
				t.Errorf("%s: maps memory; guest memory is guestmem's, other mappings are listed in this test", s.position(n))
			}
		}
	}
}

// selections finds pkg.name in s.
func selections(s source, pkg, name string) []ast.Node {
	var found []ast.Node
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != name {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == pkg {
			found = append(found, n)
		}
		return true
	})
	return found
}
