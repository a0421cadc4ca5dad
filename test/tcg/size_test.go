//go:build tcg

package tcg

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestBinaries: what users install and what every guest boots with stay small
// and need nothing of the system around them.
func TestBinaries(t *testing.T) {
	for _, b := range []struct {
		path string
		most int64 // bytes
	}{
		{vmtest.Holt(t), 25 << 20},
		{filepath.Join(vmtest.Repo(t), "internal", "agentbin", "bin", "holt-agent"), 4 << 20},
	} {
		info, err := os.Stat(b.path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d KiB", filepath.Base(b.path), info.Size()>>10)
		if info.Size() > b.most {
			t.Errorf("%s has %d bytes, more than %d", b.path, info.Size(), b.most)
		}
		f, err := elf.Open(b.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is linked dynamically: it has a segment %v", b.path, p.Type)
			}
		}
		f.Close()
	}
}
