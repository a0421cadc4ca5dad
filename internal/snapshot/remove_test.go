package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestRemoveWhatIsNeeded(t *testing.T) {
	s := OpenAt(t.TempDir())
	base := mustTake(t, s, "base", nil, pages{1: 1})
	a := mustTake(t, s, "a", base, nil)
	b := mustTake(t, s, "b", base, nil)
	var inUse *InUseError
	err := s.Remove(t.Context(), base)
	if !errors.As(err, &inUse) || err.Error() != "snapshot base is needed by a, b: remove those first" {
		t.Errorf("removed from below others: %v", err)
	}
	f, err := b.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, one := range []*Snapshot{a, b, base} {
		if err := s.Remove(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if left := inStore(t, s); left != nil {
		t.Errorf("left behind: %v", left)
	}
	// Who has it open goes on with it.
	page := make([]byte, align)
	if _, err := f.Memory.Layers[0].File.ReadAt(page, align); err != nil || page[0] != 1 {
		t.Errorf("memory of a removed snapshot that is open: %v", err)
	}
}

func TestPrune(t *testing.T) {
	s := OpenAt(t.TempDir())
	var all []*Snapshot
	for i, name := range []string{"old", "used", "parent", "new"} {
		one := mustTake(t, s, name, nil, nil)
		past := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(filepath.Join(one.Path(), manifestName), past, past); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := all[1].Used(); err != nil {
		t.Fatal(err)
	}
	mustTake(t, s, "child", all[2], nil)
	removed, err := s.Prune(t.Context(), 3)
	if err != nil || !reflect.DeepEqual(removed, []string{"old"}) {
		t.Errorf("pruned %v, %v, want old", removed, err)
	}
	// One is the parent of another, and two were used this minute.
	removed, err = s.Prune(t.Context(), 0)
	if err != nil || !reflect.DeepEqual(removed, []string{"new"}) {
		t.Errorf("pruned %v, %v, want new", removed, err)
	}
	if removed, err := s.Prune(t.Context(), 100); err != nil || removed != nil {
		t.Errorf("pruned %v, %v, want nothing", removed, err)
	}
	if err := all[0].Used(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("used what is gone: %v", err)
	}
}
