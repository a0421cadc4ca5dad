package snapshot

import (
	"errors"
	"strings"
	"testing"
)

func TestChainGoesRound(t *testing.T) {
	s := OpenAt(t.TempDir())
	base := mustTake(t, s, "", nil, nil)
	a := mustTake(t, s, "a", base, nil)
	b := mustTake(t, s, "b", a, nil)
	rewrite(t, a, func(m *Manifest) { m.Parent = b.Manifest.ID })
	for _, check := range []func() error{
		func() error { _, err := b.Open(); return err },
		func() error { return b.Verify(t.Context()) },
	} {
		if err := check(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "snapshot b lies on itself") {
			t.Errorf("a chain that goes round: %v", err)
		}
	}
}

func TestChainIsBounded(t *testing.T) {
	s := OpenAt(t.TempDir())
	one := mustTake(t, s, "", nil, nil)
	for range MaxDepth - 1 {
		one = mustTake(t, s, "", one, nil)
	}
	if depth, err := one.Depth(); err != nil || depth != MaxDepth {
		t.Errorf("%d deep, %v, want %d", depth, err, MaxDepth)
	}
	f, err := one.Open()
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := take(t.Context(), s, "", one.Manifest.ID, nil); err == nil || !strings.Contains(err.Error(), "more than 64 snapshots lie one on another") {
		t.Errorf("one more: %v", err)
	}
}
