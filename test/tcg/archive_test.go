//go:build tcg

package tcg

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/vmtest"
)

const archiveFiles = 5000

// makeArchive writes a tar of regular files in many directories, with symbolic
// and hard links, odd modes, old times and extended attributes, and returns
// what is in it.
func makeArchive(t *testing.T, path string) []tar.Header {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var all []tar.Header
	add := func(h tar.Header, content []byte) {
		h.Format, h.Size = tar.FormatPAX, int64(len(content))
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(rng.Int64N(1_700_000_000), rng.Int64N(1e9))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	modes := []int64{0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0o000}
	for i := range archiveFiles {
		dir := fmt.Sprintf("d%02d", i/100)
		if i%100 == 0 {
			add(tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755 | int64(i/100%2)<<9}, nil)
		}
		h := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%s/file %d ü", dir, i), Mode: modes[i%len(modes)], Uid: i % 3 * 1000, Gid: i % 5 * 100}
		if i%10 == 0 {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.holt": fmt.Sprintf("value %d", i)}
		}
		content := make([]byte, rng.IntN(6000))
		for j := range content {
			content[j] = byte(rng.Uint32())
		}
		add(h, content)
		switch i % 20 {
		case 3:
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("%s/sym%d", dir, i), Linkname: fmt.Sprintf("../%s/file %d ü", dir, i), Mode: 0o777}, nil)
		case 7:
			add(tar.Header{Typeflag: tar.TypeLink, Name: fmt.Sprintf("%s/hard%d", dir, i), Linkname: h.Name, ModTime: h.ModTime, Mode: h.Mode}, nil)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestUnpackArchive unpacks an archive in the guest and compares on the host.
func TestUnpackArchive(t *testing.T) {
	t.Parallel()
	in, out := t.TempDir(), t.TempDir()
	archive := filepath.Join(in, "a.tar")
	headers := makeArchive(t, archive)
	r := vmtest.Run(t, "run", "--rootfs", vmtest.DebianRoot(t), "--overlay", "-v", in+":/in:ro", "-v", out+":/out", "--",
		"tar", "--xattrs", "--numeric-owner", "-xpf", "/in/a.tar", "-C", "/out")
	r.Want(t, 0, "")
	t.Logf("%d entries in %v", len(headers), r.Time.Round(time.Millisecond))

	contents := readArchive(t, archive)
	bad := 0
	for _, h := range headers {
		if err := compareEntry(out, h, contents[h.Name]); err != nil {
			if bad++; bad < 10 {
				t.Errorf("%s: %v", h.Name, err)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d entries differ", bad, len(headers))
	}
}

func readArchive(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	contents := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return contents
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		contents[h.Name] = b.Bytes()
	}
}

func compareEntry(root string, h tar.Header, content []byte) error {
	path := filepath.Join(root, h.Name)
	var st, target unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		to, err := os.Readlink(path)
		if err != nil || to != h.Linkname {
			return fmt.Errorf("points to %q, %v; want %q", to, err, h.Linkname)
		}
		return compareTime(st, h)
	}
	if h.Typeflag == tar.TypeLink {
		if err := unix.Lstat(filepath.Join(root, h.Linkname), &target); err != nil || target.Ino != st.Ino || st.Nlink != 2 {
			return fmt.Errorf("is no hard link of %s: %v", h.Linkname, err)
		}
		return nil
	}
	if got := int64(st.Mode & 0o7777); got != h.Mode {
		return fmt.Errorf("mode %o, want %o", got, h.Mode)
	}
	if os.Geteuid() == 0 && (int(st.Uid) != h.Uid || int(st.Gid) != h.Gid) {
		return fmt.Errorf("owner %d:%d, want %d:%d", st.Uid, st.Gid, h.Uid, h.Gid)
	}
	if h.Typeflag == tar.TypeReg {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, content) {
			return fmt.Errorf("content differs: %d bytes, want %d; %v", len(got), len(content), err)
		}
	}
	if want, ok := h.PAXRecords["SCHILY.xattr.user.holt"]; ok {
		b := make([]byte, 100)
		n, err := unix.Getxattr(path, "user.holt", b)
		if err != nil || string(b[:n]) != want {
			return fmt.Errorf("user.holt is %q, %v; want %q", b[:max(n, 0)], err, want)
		}
	}
	return compareTime(st, h)
}

func compareTime(st unix.Stat_t, h tar.Header) error {
	if got := time.Unix(st.Mtim.Unix()); !got.Equal(h.ModTime) {
		return fmt.Errorf("mtime %v, want %v", got, h.ModTime)
	}
	return nil
}
