package snapshot

import (
	"fmt"
	"slices"
)

// MaxDepth is how many snapshots can lie one on another, the whole one included.
const MaxDepth = 64

// chain returns the snapshot and all below it, itself first and a whole one last. Its
// own directory need not be there yet.
func (s *Snapshot) chain() ([]*Snapshot, error) {
	all := []*Snapshot{s}
	for id := s.Manifest.Parent; id != ""; {
		below, err := s.store.load(id)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s lies on another one: %w", all[len(all)-1].Manifest.Label(), err)
		}
		switch a, b := s.Manifest, below.Manifest; {
		case slices.ContainsFunc(all, func(one *Snapshot) bool { return one.Manifest.ID == id }):
			return nil, fmt.Errorf("snapshot %s lies on itself: %w", b.Label(), ErrDamaged)
		case len(all) == MaxDepth:
			return nil, fmt.Errorf("more than %d snapshots lie one on another: make a whole one", MaxDepth)
		case a.Memory != b.Memory || a.Arch != b.Arch:
			return nil, fmt.Errorf("it has %d bytes of memory on %s, and snapshot %s below it %d on %s",
				a.Memory, a.Arch, b.Label(), b.Memory, b.Arch)
		}
		all = append(all, below)
		id = below.Manifest.Parent
	}
	return all, nil
}

// Depth is how many snapshots lie one on another from this one down, at least 1.
func (s *Snapshot) Depth() (int, error) {
	all, err := s.chain()
	return len(all), err
}
