package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holtvm/holt/internal/guestmem"
)

func TestWorkingSet(t *testing.T) {
	s := OpenAt(t.TempDir())
	one := mustTake(t, s, "a", nil, nil)
	first := []guestmem.Run{{Page: 3, Count: 2}, {Page: 9, Count: 1}}
	if err := one.AddWorkingSet(t.Context(), []guestmem.Run{{Page: 256, Count: 1}}); err == nil {
		t.Error("pages that are not there are accepted")
	}
	for _, runs := range [][]guestmem.Run{first, {{Page: 1, Count: 1}}} {
		if err := one.AddWorkingSet(t.Context(), runs); err != nil {
			t.Fatal(err)
		}
		if got := workingSet(t, one); !reflect.DeepEqual(got, first) {
			t.Errorf("the working set is %v, want %v", got, first)
		}
	}
	if err := one.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	path := filepath.Join(one.Path(), workingSetName)
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := workingSet(t, one); got != nil {
		t.Errorf("a damaged working set is believed: %v", got)
	}
	if left := inStore(t, s); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := s.Remove(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := one.AddWorkingSet(t.Context(), first); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a snapshot that is gone: %v, want %v", err, ErrNotFound)
	}
}

func workingSet(t *testing.T, one *Snapshot) []guestmem.Run {
	t.Helper()
	f, err := one.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.WorkingSet
}
