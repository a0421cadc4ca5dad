// Package cachedir bounds directories of cache entries by how many they hold.
package cachedir

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holtvm/holt/internal/atomicfile"
)

// Touch marks the entry at path as used now. It returns an error satisfying
// errors.Is(err, fs.ErrNotExist) when there is no such entry.
func Touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// Prune removes all but the keep most recently used entries of dir. Hidden
// names are neither counted nor removed: they are locks and unfinished work.
func Prune(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		// An entry that another process removed meanwhile has no info.
		if info, err := e.Info(); err == nil {
			infos = append(infos, info)
		}
	}
	if len(infos) <= keep {
		return nil
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range infos[keep:] {
		path := filepath.Join(dir, info.Name())
		remove := os.Remove
		if info.IsDir() {
			remove = atomicfile.RemoveDir
		}
		if err := remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
