package snapshot

import (
	"bytes"
	"io"
	"testing"
)

func TestOpenChain(t *testing.T) {
	s := OpenAt(t.TempDir())
	a := pages{0: 1, 5: 1, 6: 1, 255: 1}
	b := pages{5: 2, 9: 2}
	c := pages{6: 0, 9: 3} // zeros that count
	base := mustTake(t, s, "a", nil, a)
	middle := mustTake(t, s, "b", base, b)
	top := mustTake(t, s, "c", middle, c)
	same := mustTake(t, s, "same", top, nil) // nothing changed
	for _, tt := range []struct {
		one   *Snapshot
		want  []pages
		depth int
	}{{base, []pages{a}, 1}, {middle, []pages{a, b}, 2}, {top, []pages{a, b, c}, 3}, {same, []pages{a, b, c}, 4}} {
		if !bytes.Equal(memoryOf(t, tt.one), filled(tt.want...)) {
			t.Errorf("snapshot %s: not the memory that it was made of", tt.one.Manifest.Label())
		}
		if depth, err := tt.one.Depth(); err != nil || depth != tt.depth {
			t.Errorf("snapshot %s: %d deep, %v, want %d", tt.one.Manifest.Label(), depth, err, tt.depth)
		}
		if err := tt.one.Verify(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := blocks(t, top, Memory); n > 2*64<<10 {
		t.Errorf("two pages take %d bytes", n)
	}
}

func TestOpenFiles(t *testing.T) {
	s := OpenAt(t.TempDir())
	f, err := mustTake(t, s, "a", nil, pages{1: 1}).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if string(f.State) != stateText || f.WorkingSet != nil || len(f.Disks) != 1 {
		t.Errorf("got %+v", f)
	}
	want := make([]byte, diskBytes)
	copy(want[align:], "disk")
	copy(want[diskBytes-3:], "end")
	if got, err := io.ReadAll(f.Disks["root"]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the disk has %d bytes, %v, and not those that it had", len(got), err)
	}
	if _, err := f.Memory.Layers[0].File.WriteAt([]byte{1}, 0); err == nil {
		t.Error("memory can be written")
	}
}
