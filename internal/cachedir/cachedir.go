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

// staleAfter is how old unfinished work must be to be taken for dead.
const staleAfter = 24 * time.Hour

// inUse is how long after its last use an entry may still be needed by whoever was
// given its path: to start a virtual machine from it, say.
const inUse = time.Minute

// Prune removes all but the keep most recently used entries of dir, and those that
// were used in the last minute, however many they are. Hidden names, which are
// locks and unfinished work, do not count; unfinished work that nobody has touched
// for a day is removed, too.
func Prune(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var infos []fs.FileInfo
	var doomed []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil: // another process has removed it
		case !strings.HasPrefix(e.Name(), "."):
			infos = append(infos, info)
		case strings.HasPrefix(e.Name(), atomicfile.TempPrefix) && time.Since(info.ModTime()) > staleAfter:
			doomed = append(doomed, info)
		}
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range infos[min(keep, len(infos)):] {
		if time.Since(info.ModTime()) > inUse {
			doomed = append(doomed, info)
		}
	}
	for _, info := range doomed {
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
