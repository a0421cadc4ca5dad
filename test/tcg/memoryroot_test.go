//go:build tcg

package tcg

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/boot"
	"github.com/holtvm/holt/internal/vmtest"
)

// archiveOf is a root as people make one: find, cpio, gzip.
func archiveOf(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.cpio.gz")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `find . | cpio -o -H newc --quiet | gzip -1 > "$0"`, path)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestMemoryRoot: a gzip-compressed cpio archive is the root, in guest memory; its
// own /init is a file like others.
func TestMemoryRoot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "root")
	tool(t, "cp", "-a", baseRoot(t), dir)
	if err := os.WriteFile(filepath.Join(dir, "init"), []byte("#!/bin/sh\necho the wrong init\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	archive := archiveOf(t, dir)
	r := vmtest.Run(t, "run", "--rootfs", archive, "-m", "128M", "--", "sh", "-c",
		`echo made > /made; cat /made /init; stat -c %a /tmp; mkdir /old && pivot_root . old 2>/dev/null; echo done`)
	r.Want(t, 0, "made\n#!/bin/sh\necho the wrong init\n1777\ndone\n")
	vmtest.Run(t, "run", "--rootfs", archive, "-m", "128M", "--", "ls", "/made").Want(t, 1, "") // a new memory
}

// TestBadMemoryRoots: each is refused with a reason, before any boot.
func TestBadMemoryRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole, err := os.ReadFile(archiveOf(t, baseRoot(t)))
	if err != nil {
		t.Fatal(err)
	}
	// In pieces of which each is fine.
	bomb := pack(t, func(w io.Writer) {
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprint("file", i))
		}
		writeArchive(t, w, 256<<20, names...)
	})
	t.Logf("a bomb of 10 GiB in %.1f MiB", float64(len(bomb))/(1<<20))
	for _, test := range []struct {
		name    string
		content []byte
		want    []string
	}{
		{"truncated gzip", whole[:len(whole)/2], []string{"rootfs"}},
		{"names that lead out", pack(t, func(w io.Writer) {
			var b bytes.Buffer
			writeArchive(t, &b, 3, "no/etc/passwd") // our writer makes no other
			_, _ = w.Write(bytes.ReplaceAll(b.Bytes(), []byte("no/"), []byte("../")))
		}), []string{`"../etc/passwd"`}},
		{"bomb", bomb, []string{"memory_mb"}},
		{"a tar", tarball(t), []string{"cpio"}},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(test.name, " ", "-"))
		if err := os.WriteFile(path, test.content, 0o644); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r := vmtest.Run(t, "run", "--rootfs", path, "--", "echo", "booted")
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, path) {
			t.Errorf("%s: exit status %d, %q, %q", test.name, r.Code, r.Stdout, r.Stderr)
		}
		for _, want := range test.want {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("%s: no %q in %q", test.name, want, r.Stderr)
			}
		}
		t.Logf("%s: %v, %s", test.name, time.Since(start).Round(time.Millisecond), strings.TrimSpace(r.Stderr))
	}
}

// pack compresses what write writes.
func pack(t *testing.T, write func(io.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	write(z)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// writeArchive writes a cpio archive of files with so many zeros each.
func writeArchive(t *testing.T, w io.Writer, size int64, names ...string) {
	t.Helper()
	a := boot.NewCPIOWriter(w)
	for _, name := range names {
		if err := a.Write(boot.CPIOHeader{Name: name, Mode: boot.ModeRegular | 0o644, Size: size}, io.LimitReader(zeros{}, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

// tarball is what somebody may take for a root.
func tarball(t *testing.T) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", "-C", baseRoot(t), "-cz", "etc").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
