package aptpkg

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/holtvm/holt/internal/aptpkg/apttest"
)

func FuzzUnpack(f *testing.F) {
	f.Add(apttest.Deb(f, map[string]string{"boot/vmlinuz": "kernel"}))
	f.Add(apttest.Archive(f, "data.tar", make([]byte, 1024)))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		dest := filepath.Join(dir, "dest")
		if err := os.Mkdir(dest, 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dest)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		_ = unpackDeb(t.Context(), bytes.NewReader(b), root, func(name string) (string, bool) { return name, true })
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("beside the destination: %v, %v", entries, err)
		}
	})
}
