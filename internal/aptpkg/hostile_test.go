package aptpkg_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/aptpkg"
	"github.com/holtvm/holt/internal/aptpkg/apttest"
)

// deb is a package whose data.tar has these entries, with no content but for
// regular files: "x" for each byte of a size up to 10, nothing of a larger one.
func deb(t *testing.T, entries ...tar.Header) []byte {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for _, h := range entries {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && h.Size <= 10 {
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = w.Flush() // fails behind what a large file lacks
	return apttest.Archive(t, "data.tar", data.Bytes())
}

// TestHostilePackages unpacks with everything picked under its own name, which no
// caller does. The canary beside the destination is the test's own.
func TestHostilePackages(t *testing.T) {
	file := func(name string, size int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Mode: 0o644}
	}
	link := func(kind byte, name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: kind, Linkname: target}
	}
	for name, c := range map[string]struct {
		entries []tar.Header
		want    string   // part of the error, "" for none
		made    []string // files below the destination
	}{
		"names that climb":      {[]tar.Header{file("../canary", 3), file("a/../../canary", 3)}, "exist", []string{"canary"}},
		"absolute name":         {[]tar.Header{file("/canary", 3)}, "", []string{"canary"}},
		"through a link":        {[]tar.Header{link(tar.TypeSymlink, "d", ".."), file("d/canary", 3)}, "", []string{"d/canary"}},
		"over a link":           {[]tar.Header{link(tar.TypeSymlink, "f", "../canary"), file("f", 3)}, "", []string{"f"}},
		"hard link out":         {[]tar.Header{link(tar.TypeLink, "f", "../canary"), file("f", 3)}, "", []string{"f"}},
		"a file twice":          {[]tar.Header{file("f", 3), file("f", 4)}, "exist", []string{"f"}},
		"larger than allowed":   {[]tar.Header{file("f", 3<<30)}, "more than", nil},
		"sum larger":            {[]tar.Header{file("f", 3), file("g", 2<<30-2)}, "more than", []string{"f"}},
		"cut within a file":     {[]tar.Header{file("f", 1<<20)}, "unexpected EOF", []string{"f"}},
		"empty name":            {[]tar.Header{file(".", 3)}, "unpack package p.deb", nil},
		"set-user-id is no use": {[]tar.Header{{Name: "f", Typeflag: tar.TypeReg, Size: 1, Mode: 0o6755}}, "", []string{"f"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			canary, dest := filepath.Join(dir, "canary"), filepath.Join(dir, "dest")
			if err := os.WriteFile(canary, []byte("canary"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dest, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "p.deb")
			if err := os.WriteFile(path, deb(t, c.entries...), 0o644); err != nil {
				t.Fatal(err)
			}
			err := aptpkg.Package{Path: path}.Unpack(t.Context(), dest, func(name string) (string, bool) { return name, true })
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			var made []string
			filepath.Walk(dest, func(path string, info os.FileInfo, err error) error {
				if err == nil && !info.IsDir() {
					rel, _ := filepath.Rel(dest, path)
					made = append(made, rel)
					if !info.Mode().IsRegular() || info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
						t.Errorf("%s has mode %v", rel, info.Mode())
					}
				}
				return nil
			})
			if strings.Join(made, " ") != strings.Join(c.made, " ") {
				t.Errorf("made %q, want %q", made, c.made)
			}
			if b, err := os.ReadFile(canary); string(b) != "canary" || err != nil {
				t.Errorf("the canary is %q, %v", b, err)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 3 {
				t.Errorf("beside the destination: %v", entries)
			}
		})
	}
}

// TestUnpickedIsBounded: what nobody wants is unpacked all the same, to get behind
// it, so it counts.
func TestUnpickedIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.deb")
	b := deb(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 3 << 30})
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	err := aptpkg.Package{Path: path}.Unpack(t.Context(), t.TempDir(), func(string) (string, bool) { return "", false })
	if err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}
