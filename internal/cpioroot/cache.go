package cpioroot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/atomicfile"
	"github.com/holtvm/holt/internal/cachedir"
)

// layout changes whenever the archive of the same inputs does.
const layout = "holt root 1\n"

// tick is longer than file systems take to notice that a file changed again.
const tick = 100 * time.Millisecond

// identity tells one content of a file from another. To hash 100 MB would cost
// more than all the rest of a start.
type identity struct {
	dev, inode   uint64
	size         int64
	mtime, ctime unix.Timespec
}

func identify(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, fmt.Errorf("stat: %w", err)
	}
	return identity{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// key names what is made of a root and an initramfs.
func (id identity) key(initramfs string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s%q %+v\n", layout, initramfs, id)
	if now := time.Now(); now.Sub(time.Unix(id.ctime.Unix())).Abs() < tick {
		// Another change might leave the times as they are, so the next start
		// must not find what this one made.
		fmt.Fprintf(h, "%d\n", now.UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// An archive's name says how much memory its guest needs, in bytes, so that this
// is known without reading it.
func archiveName(key string, needs int64) string { return fmt.Sprintf("%s-%d.cpio", key, needs) }

// find returns the archive of that key and how much memory its guest needs, or
// an error that satisfies errors.Is(err, fs.ErrNotExist).
func find(dir, key string) (archive string, needs int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", 0, err
	}
	for _, e := range entries {
		number, ours := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".cpio"), key+"-")
		if needs, err := strconv.ParseInt(number, 10, 64); ours && err == nil {
			archive := filepath.Join(dir, e.Name())
			return archive, needs, cachedir.Touch(archive)
		}
	}
	return "", 0, fs.ErrNotExist
}

// keep puts a finished archive into the cache, at path. Nobody else may read it,
// as it may be with the root itself.
func keep(temp *os.File, path string) (string, error) {
	// What a crash of the host left half written would be found and booted.
	if err := temp.Sync(); err != nil {
		return "", err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	if err := atomicfile.SyncDir(dir); err != nil {
		return "", err
	}
	if err := cachedir.Prune(dir, maxArchives); err != nil {
		return "", fmt.Errorf("bound the cache of roots: %w", err)
	}
	return path, nil
}
