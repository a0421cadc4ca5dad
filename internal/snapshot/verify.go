package snapshot

import (
	"context"
	"fmt"
)

// Verify reads all of the snapshot and of those that it lies on, and compares it with
// the sums. The error names the first section that is not as it was written, and wraps
// [ErrDamaged].
func (s *Snapshot) Verify(ctx context.Context) error {
	chain, err := s.chain()
	if err != nil {
		return fmt.Errorf("verify snapshot %s: %w", s.Manifest.Label(), err)
	}
	for _, one := range chain {
		if err := one.verify(ctx); err != nil {
			return fmt.Errorf("verify snapshot %s: %w", one.Manifest.Label(), err)
		}
	}
	return nil
}

func (s *Snapshot) verify(ctx context.Context) error {
	for _, section := range s.Manifest.Sections {
		if err := section.verify(ctx, s.Path()); err != nil {
			return err
		}
	}
	_, err := s.runs()
	return err
}
