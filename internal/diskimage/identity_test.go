package diskimage

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestIdentify(t *testing.T) {
	path := image(t, 1024)
	identify := func() Identity {
		t.Helper()
		id, err := Identify(path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	first := identify()
	if first.Size != 1024 || first.Ino == 0 || first.Dev == 0 || first.ModTime.IsZero() {
		t.Errorf("%+v", first)
	}
	if again := identify(); again != first {
		t.Errorf("%+v, and then %+v", first, again)
	}
	later := first.ModTime.Add(time.Second)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	if got := identify(); !got.ModTime.Equal(later) || got.Ino != first.Ino {
		t.Errorf("written later: %+v", got)
	}
	other := image(t, 1024)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if got := identify(); got.Ino == first.Ino {
		t.Error("another file has the same identity")
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir(), "/dev/null"} {
		if id, err := Identify(bad); err == nil {
			t.Errorf("%s is %+v", bad, id)
		}
	}
}
