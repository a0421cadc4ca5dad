package monitor

import (
	"context"
	"fmt"
	"os"
)

// saveDisks copies every disk that the guest may write into a file of its own, made by
// create for its serial, and hands each to done. The machine stands still.
func (a *assembly) saveDisks(ctx context.Context, create func(name string) (*os.File, error), done func(*os.File) error) (names []string, err error) {
	for _, d := range a.disks {
		if d.readOnly {
			continue // a clone opens it, too
		}
		f, err := create(d.name)
		if err != nil {
			return names, err
		}
		if err := d.image.CopyTo(ctx, f); err != nil {
			f.Close()
			return names, fmt.Errorf("copy disk %s: %w", d.name, err)
		}
		if err := done(f); err != nil {
			return names, err
		}
		names = append(names, d.name)
	}
	return names, nil
}
