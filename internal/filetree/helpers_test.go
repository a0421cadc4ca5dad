package filetree

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
	"golang.org/x/sys/unix"
)

var root = os.Geteuid() == 0

// snapshot describes every file below top by its path: all that a copy keeps.
func snapshot(t testing.TB, top string) map[string]string {
	t.Helper()
	files, names := map[string]string{}, map[uint64]string{}
	err := filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		text := fmt.Sprintf("mode %o, time %d.%09d", st.Mode, st.Mtim.Sec, st.Mtim.Nsec)
		if root {
			text += fmt.Sprintf(", owner %d:%d", st.Uid, st.Gid)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(", %d bytes %x", len(b), sha256.Sum256(b))
		case unix.S_IFLNK:
			target, _ := os.Readlink(path)
			text += fmt.Sprintf(" -> %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			text += fmt.Sprintf(", device %d", st.Rdev)
		}
		if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if first, ok := names[st.Ino]; ok {
				text += fmt.Sprintf(", is %q", first)
			} else {
				names[st.Ino] = rel
			}
		}
		files[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// same fails the test where two snapshots differ.
func same(t testing.TB, got, want map[string]string) {
	t.Helper()
	for path, text := range want {
		if got[path] != text {
			t.Errorf("%q:\n got %s\nwant %s", path, got[path], text)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q is there: %s", path, got[path])
		}
	}
}

// grow makes a random tree below dir, which exists.
func grow(t testing.TB, r *rand.Rand, dir string, depth int) {
	t.Helper()
	names := []string{
		"-rf", "a b", "new\nline", "\xff\xfe", "ünï", "*", `back\slash`, "tab\t", ".hidden", "...",
		strings.Repeat("n", 255), "~", "$HOME", "a", "b", "c:d", "\x01",
	}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var files []string
	for _, name := range names[:4+r.IntN(len(names)-4)] {
		path := filepath.Join(dir, name)
		switch kind := r.IntN(12); {
		case kind < 3 && depth > 0:
			must(t, os.Mkdir(path, 0o700))
			grow(t, r, path, depth-1)
		case kind == 3:
			must(t, os.Symlink([]string{"a", "../..", "/etc/passwd", "\xfe", "x y", strings.Repeat("l/", 2000)}[r.IntN(6)], path))
		case kind == 4:
			must(t, unix.Mkfifo(path, 0o600))
		case kind == 5 && len(files) > 0:
			must(t, os.Link(files[r.IntN(len(files))], path))
			continue // has its attributes
		case kind == 6 && root:
			must(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		default:
			data := make([]byte, []int{0, 1, 511, 512, 513, 4096, r.IntN(100 << 10)}[r.IntN(7)])
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			must(t, os.WriteFile(path, data, 0o600))
			files = append(files, path)
		}
		adorn(t, r, path)
	}
}

// adorn gives a file a random owner, mode and time.
func adorn(t testing.TB, r *rand.Rand, path string) {
	t.Helper()
	modes := []uint32{0o644, 0o600, 0o755, 0o777, 0o640}
	if root {
		modes = append(modes, 0, 0o4755, 0o2755, 0o1777, 0o6111, 0o444)
		must(t, os.Lchown(path, r.IntN(3)*500, r.IntN(3)*700))
	}
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode()&fs.ModeSymlink == 0 {
		mode := modes[r.IntN(len(modes))]
		if info.IsDir() && !root {
			mode |= 0o700
		}
		must(t, unix.Chmod(path, mode))
	}
	seconds := []int64{0, -1, -86400 * 365, 1, 1764000000, 1 << 32}[r.IntN(6)]
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: seconds, Nsec: r.Int64N(1e9)}}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes entries to a new writer at top and closes it, whatever goes wrong. The
// error is the first.
func put(t testing.TB, top string, o WriteOptions, entries ...agentproto.Entry) error {
	t.Helper()
	w, err := Create(top, o)
	if err != nil {
		return err
	}
	var all []error
	for _, e := range entries {
		all = append(all, w.Put(e, strings.NewReader("written")))
	}
	return errors.Join(append(all, w.Close())...)
}

// clone copies a tree as it is.
func clone(t testing.TB, from, to string) {
	t.Helper()
	src, err := Open(from, ReadOptions{})
	must(t, err)
	defer src.Close()
	dst, err := Create(to, WriteOptions{Chown: root, Devices: true})
	must(t, err)
	defer dst.Close()
	must(t, Copy(dst, src))
}

// listed returns all entries of a tree by path, with the data of files.
func listed(t testing.TB, src Source) (paths []string, data map[string]string) {
	t.Helper()
	data = map[string]string{}
	for {
		e, r, err := src.Next()
		if errors.Is(err, io.EOF) {
			return paths, data
		}
		must(t, err)
		must(t, e.Validate())
		paths = append(paths, string(e.Path))
		if r != nil {
			b, err := io.ReadAll(r)
			must(t, err)
			data[string(e.Path)] = string(b)
		}
	}
}

func openFDs(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(names)
}
