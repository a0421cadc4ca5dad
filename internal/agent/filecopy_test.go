package agent

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/filetree"
)

// TestTrees sends a tree in and out again.
func TestTrees(t *testing.T) {
	dir := t.TempDir()
	src, guest, dst := filepath.Join(dir, "src"), filepath.Join(dir, "not/yet/guest"), filepath.Join(dir, "dst")
	if err := os.MkdirAll(filepath.Join(src, "new\nline \xff/deep"), 0o750); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		makeFile(t, filepath.Join(src, "new\nline \xff", fmt.Sprint(i)), strings.Repeat("x", i*7))
	}
	makeFile(t, filepath.Join(src, "big"), strings.Repeat("0123456789", 50_000))
	if err := errors.Join(
		os.Symlink("../../etc", filepath.Join(src, "link")),
		os.Link(filepath.Join(src, "big"), filepath.Join(src, "same")),
		unix.Mkfifo(filepath.Join(src, "fifo"), 0o600),
		os.Chtimes(filepath.Join(src, "big"), time.Unix(1, 5), time.Unix(1, 5)),
	); err != nil {
		t.Fatal(err)
	}
	from, err := filetree.Open(src, filetree.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	q := agentproto.FileRequest{Path: at(guest)}
	if err := agentclient.Push(t.Context(), dial(t), q, from); kindOf(err) != "not_found" {
		t.Fatalf("without parents: %v", err)
	}
	if from, err = filetree.Open(src, filetree.ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	q.Parents = true
	if err := agentclient.Push(t.Context(), dial(t), q, from); err != nil {
		t.Fatal(err)
	}
	to, err := filetree.Create(dst, filetree.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := agentclient.Pull(t.Context(), dial(t), agentproto.FileRequest{Path: at(guest)}, to); err != nil {
		t.Fatal(err)
	}
	if want, got := describe(t, src), describe(t, dst); want != got {
		t.Errorf("source:\n%s\ncopy:\n%s", want, got)
	}
}

// describe says what is in a tree.
func describe(t *testing.T, top string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		var content []byte
		if d.Type().IsRegular() {
			content, err = os.ReadFile(p)
		} else if d.Type() == fs.ModeSymlink {
			var text string
			text, err = os.Readlink(p)
			content = []byte(text)
		}
		fmt.Fprintf(&b, "%q %o %d %d %x\n", strings.TrimPrefix(p, top), st.Mode, st.Mtim.Nano(), st.Nlink, sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRefusedTree: the host hears of an early end while it sends.
func TestRefusedTree(t *testing.T) {
	dir := t.TempDir()
	makeFile(t, filepath.Join(dir, "file"), "")
	sent := 0
	src := sourceFunc(func() (agentproto.Entry, io.Reader, error) {
		sent++
		e := agentproto.Entry{Path: ".", Mode: unix.S_IFDIR | 0o755}
		if sent > 1 { // what is already there is a file, so nothing can be below it
			e = agentproto.Entry{Path: at("file", fmt.Sprint(sent)), Mode: unix.S_IFREG | 0o644}
		}
		return e, bytes.NewReader(make([]byte, 1<<16)), nil
	})
	err := agentclient.Push(t.Context(), dial(t), agentproto.FileRequest{Path: at(dir)}, src)
	if kindOf(err) != "not_dir" {
		t.Errorf("%v", err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
}

// TestBigFile streams a large sparse file through both ends and back into nothing, and
// looks at the memory that takes.
func TestBigFile(t *testing.T) {
	const size = 256 << 20
	file := filepath.Join(t.TempDir(), "big")
	makeFile(t, file, "")
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	r, err := agentclient.ReadFile(t.Context(), dial(t), file, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := agentclient.WriteFile(t.Context(), dial(t), agentproto.FileRequest{Path: "/dev/null"}, r)
	if err != nil || n != size || r.Info.Size != size {
		t.Errorf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes of memory were allocated for a file of %d", used, size)
	}
	t.Logf("%.0f MB/s in and out at once", size/1e6/time.Since(begin).Seconds())
}
