package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newSnapshotRm() *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove snapshots",
		Long: `Remove snapshots. VMs that were restored from them go on. One stays when another has only
what changed since it, unless that is removed as well.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := findSnapshots(cmd.Context(), args)
			// What has the changes is younger than what they are changes of.
			slices.SortStableFunc(found, func(a, b namedSnapshot) int { return b.created.Compare(a.created) })
			return errors.Join(err, eachSnapshot(cmd, found, func(s *holt.Snapshot) error { return s.Remove(cmd.Context()) }))
		},
	}
}

func newSnapshotVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify NAME...",
		Short: "Compare snapshots with their checksums",
		Long: `Read all of each snapshot, and of those that it has the changes of, and compare it with
the checksums that were noted when it was made. Prints the names of those that are as
they were. 'holt restore' does not do this: it reads what the guest uses alone.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return untilInterrupted(cmd, func(ctx context.Context) error {
				found, err := findSnapshots(ctx, args)
				return errors.Join(err, eachSnapshot(cmd, found, func(s *holt.Snapshot) error {
					defer progress("reading…")()
					return s.Verify(ctx)
				}))
			})
		},
	}
}

// namedSnapshot is a snapshot that somebody named on the command line.
type namedSnapshot struct {
	*holt.Snapshot

	name    string
	created time.Time
}

// findSnapshots finds those of the snapshots that are there. The error says which ones
// are not.
func findSnapshots(ctx context.Context, names []string) (found []namedSnapshot, err error) {
	for _, name := range names {
		s, oerr := holt.OpenSnapshot(ctx, name)
		if oerr != nil {
			err = errors.Join(err, oerr)
			continue
		}
		info, _ := s.Info() // one whose configuration is spoiled has a date all the same
		found = append(found, namedSnapshot{s, name, info.Created})
	}
	return found, err
}

// eachSnapshot does f to each of the snapshots, and prints the name of each as it is
// done. All that went wrong is one error.
func eachSnapshot(cmd *cobra.Command, list []namedSnapshot, f func(*holt.Snapshot) error) (err error) {
	for _, s := range list {
		ferr := f(s.Snapshot)
		if ferr == nil {
			_, ferr = fmt.Fprintln(cmd.OutOrStdout(), s.name)
		}
		err = errors.Join(err, ferr)
	}
	return err
}
