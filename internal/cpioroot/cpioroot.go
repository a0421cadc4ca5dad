// Package cpioroot turns a gzip-compressed cpio root filesystem into an archive
// that the guest kernel unpacks below /newroot: an initramfs, then the root's own
// entries under their new names. What the guest could not hold or would unpack
// to something else than the archive says is refused before there is a guest.
package cpioroot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holtvm/holt/internal/atomicfile"
)

// maxArchives is how many archives the cache keeps.
const maxArchives = 4

// Options are what Prepare needs besides the two archives.
type Options struct {
	// MemoryBytes is the guest's memory, in bytes.
	MemoryBytes uint64
	// CacheDir is the directory of caches. It is made if need be.
	CacheDir string
}

// Prepare returns the path of an uncompressed archive for the guest kernel: the
// initramfs at that path, whose name must change with its content, then the
// root filesystem at path below /newroot. It is kept in CacheDir/roots, and made
// again when the file at path has changed, as its inode and times tell.
//
// The root is a gzip-compressed newc archive, with or without checksums, or
// several, one after the other. Names are relative to the root: a leading / or
// ./ counts for nothing. The entry "." gives the root's own mode and owner.
// Directories that no entry makes before something is in them are added with
// mode 0755. Refused are: names with "..", what lies below a symbolic link or a
// file, a directory that something else replaces, a file with several hard links
// that comes twice, and whatever does not fit in the guest's memory. Every error
// names the file and, where there is one, the remedy.
func Prepare(ctx context.Context, path, initramfs string, o Options) (archive string, err error) {
	archive, err = prepare(ctx, path, initramfs, o)
	if err != nil {
		return "", fmt.Errorf("root filesystem %s: %w", path, err)
	}
	return archive, nil
}

func prepare(ctx context.Context, path, initramfs string, o Options) (string, error) {
	file, err := open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	id, err := identify(file)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(o.CacheDir, "roots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	key := id.key(initramfs)
	switch archive, needs, err := find(dir, key); {
	case err == nil:
		return archive, fits(needs, o.MemoryBytes)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("find its archive: %w", err)
	}
	temp, err := os.CreateTemp(dir, atomicfile.TempPrefix+key+"-*")
	if err != nil {
		return "", err
	}
	defer temp.Close()
	defer os.Remove(temp.Name()) // until it is renamed
	needs, err := convert(ctx, file, initramfs, temp, o.MemoryBytes)
	if err != nil {
		return "", err
	}
	if after, err := identify(file); err != nil || after != id {
		return "", errors.Join(errors.New("it changed while it was read: start again when it is complete"), err)
	}
	return keep(temp, filepath.Join(dir, archiveName(key, needs)))
}

// convert writes the initramfs and then the root in file to out. It returns how
// much memory the guest needs for both, in bytes, and fails if that is more than
// memory.
func convert(ctx context.Context, file io.Reader, initramfs string, out io.Writer, memory uint64) (int64, error) {
	// Without ReadFrom, with which every entry would take a buffer of its own.
	w := bufio.NewWriterSize(struct{ io.Writer }{out}, 1<<20)
	n, err := copyInitramfs(w, initramfs)
	if err != nil {
		return 0, fmt.Errorf("copy the initramfs: %w", err)
	}
	r := rewriter{
		in:     newSource(ctx, file),
		w:      w,
		memory: memory,
		used:   usage{archive: n, pages: pages(n)},
		names:  newNames(),
	}
	if err := r.run(); err != nil {
		return 0, err
	}
	return r.used.memory(), w.Flush()
}

// copyInitramfs copies the archive at path and fills it up to a multiple of four
// bytes, at which the kernel expects the next. It returns how many it wrote.
func copyInitramfs(w *bufio.Writer, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.Copy(w, f)
	if err != nil {
		return 0, err
	}
	padding := -n & 3
	_, err = w.Write(make([]byte, padding))
	return n + padding, err
}
