package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// moduleTree is a directory like /lib/modules/6.1.0-13-amd64. It needs no
// depmod: packages that were only unpacked have none of its files.
type moduleTree struct {
	files   map[string]string // folded name to path
	builtin map[string]bool   // folded names
}

// fold makes spellings of a module's name equal: files have hyphens where the
// kernel has underscores.
func fold(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the folded name of the module in a file, or false if the file
// is no module.
func moduleName(file string) (string, bool) {
	name := filepath.Base(file)
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if stem, ok := strings.CutSuffix(name, ext); ok {
			return fold(stem), true
		}
	}
	return "", false
}

// scanModules indexes the tree at dir.
func scanModules(dir string) (moduleTree, error) {
	t := moduleTree{files: make(map[string]string), builtin: make(map[string]bool)}
	if info, err := os.Stat(dir); err != nil {
		return t, fmt.Errorf("look for modules: %w", err)
	} else if !info.IsDir() {
		return t, fmt.Errorf("look for modules: %s is not a directory", dir)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := moduleName(path); ok && !d.IsDir() {
			t.files[name] = path
		}
		return nil
	})
	if err != nil {
		return t, fmt.Errorf("look for modules: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("look for modules: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		if name, ok := moduleName(strings.TrimSpace(line)); ok {
			t.builtin[name] = true
		}
	}
	return t, nil
}
