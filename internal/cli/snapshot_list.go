package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newSnapshotLs() *cobra.Command {
	var quiet, asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "List snapshots",
		Long: `List all snapshots, oldest first. SIZE is what one takes of the host's disk, without
those that it has the changes of.`,
		Example: `  holt snapshot ls
  holt snapshot ls --json | jq -r '.[] | select(.vm == "web").id'
  holt snapshot rm $(holt snapshot ls -q)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := snapshotInfos(cmd.Context())
			out := cmd.OutOrStdout()
			switch {
			case quiet:
				for _, i := range list {
					fmt.Fprintln(out, i.Label())
				}
			case asJSON:
				err = errors.Join(err, printJSON(out, orEmpty(list)))
			default:
				err = errors.Join(err, printSnapshots(out, list, time.Now()))
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names alone, or ids of those without one, one a line")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// snapshotInfos is what is known about all snapshots. The error says of which ones it
// is not all: one that cannot be read is no reason to show none.
func snapshotInfos(ctx context.Context) (list []holt.SnapshotInfo, err error) {
	all, err := holt.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		info, ierr := s.Info()
		list, err = append(list, info), errors.Join(err, ierr)
	}
	return list, err
}

func printSnapshots(out io.Writer, list []holt.SnapshotInfo, now time.Time) error {
	labels := map[string]string{}
	for _, i := range list {
		labels[i.ID] = i.Label()
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tVM\tCREATED\tMEMORY\tSIZE\tKIND\tPROGRAM")
	for _, i := range list {
		kind, program := "whole", "no"
		if i.Parent != "" {
			kind = "changes since " + cmp.Or(labels[i.Parent], i.Parent)
		}
		if i.Program {
			program = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s ago\t%d MiB\t%s\t%s\t%s\n", i.ID, cmp.Or(i.Name, "-"), quoted(cmp.Or(i.VM, "-")),
			age(max(now.Sub(i.Created), 0)), i.MemoryBytes>>20, humanBytes(uint64(i.DiskBytes)), kind, program)
	}
	return w.Flush()
}

func newSnapshotInspect() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "inspect NAME...",
		Short:             "Show all that is known about snapshots, as JSON",
		Example:           "  holt snapshot inspect warm\n  holt snapshot inspect --format '{{.CPUFeatures}}' warm",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspectAll(cmd.OutOrStdout(), args, format, func(name string) (info holt.SnapshotInfo, err error) {
				s, err := holt.OpenSnapshot(cmd.Context(), name)
				if err != nil {
					return info, err
				}
				return s.Info()
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "print each snapshot through a Go `TEMPLATE`")
	return cmd
}
