package tempfile

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestInMemory(t *testing.T) {
	f, err := InMemory("otter", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	if err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestIn: nobody finds the file by looking.
func TestIn(t *testing.T) {
	dir := t.TempDir()
	f, err := In(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("content"); err != nil {
		t.Error(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("%v, %v", names, err)
	}
	if f, err := In(filepath.Join(dir, "none")); err == nil {
		f.Close()
		t.Error("a file in no directory")
	}
}
