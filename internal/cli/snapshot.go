package cli

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newSnapshot() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save VMs, and manage what was saved",
		Long: `A snapshot is a VM that was saved while it ran: its memory, its processors and devices,
and its writable disks. 'holt restore' makes VMs that go on from there, any number of
them, in much less time than a boot takes. It stays until 'holt snapshot rm', whatever
becomes of the VM. VMs of the kvm backend can be saved.`,
		Example: `  holt snapshot create web warm            the VM web, as it is now
  holt restore -d --name web2 warm         a VM that goes on from there
  holt run --snapshot warm -- ps           a program in one, which ends with it
  holt snapshot ls
  holt snapshot export warm - | ssh HOST holt snapshot import -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotCreate(), newSnapshotLs(), newSnapshotInspect(), newSnapshotRm(),
		newSnapshotExport(), newSnapshotImport(), newSnapshotVerify())
	return cmd
}

func newSnapshotCreate() *cobra.Command {
	var differential, asJSON bool
	cmd := &cobra.Command{
		Use:   "create [flags] VM [NAME]",
		Short: "Save a VM that runs or is paused",
		Long: `Save a VM under NAME, or without a name, and print the snapshot's name or id. The VM
stands still meanwhile and goes on. Its writable disks are saved with it. What it shares
with the host, such as directories, is noted, and looked for when it is restored.

With --diff only the memory is saved that changed since the VM's last snapshot with
--diff, or since the snapshot that the VM was restored from; that one has to stay as
long as this one does. The first one of a VM that was booted or forked is whole, and so
is the next one when that snapshot was removed.`,
		Example: `  holt snapshot create web
  holt snapshot create web warm
  holt snapshot create --diff web warm-2`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			var opts []holt.SnapshotOption
			if differential {
				opts = append(opts, holt.Differential())
			}
			return untilInterrupted(cmd, func(ctx context.Context) error {
				info, err := saveVM(ctx, args, opts)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), info)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), info.Label())
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&differential, "diff", false, "save only the memory that has changed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print all that is known about the snapshot, as JSON")
	return cmd
}

// saveVM makes a snapshot of the VM that args begin with, under the name that follows.
func saveVM(ctx context.Context, args []string, opts []holt.SnapshotOption) (holt.SnapshotInfo, error) {
	vm, err := openVM(ctx, args[0])
	if err != nil {
		return holt.SnapshotInfo{}, err
	}
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	defer progress("saving the VM…")()
	s, err := vm.Snapshot(ctx, name, opts...)
	if err != nil {
		return holt.SnapshotInfo{}, err
	}
	return s.Info()
}

// untilInterrupted runs f, and ends its context when a signal asks this process to end,
// so that nothing half made is left. A second signal does not wait.
func untilInterrupted(cmd *cobra.Command, f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := f(ctx)
	if err != nil && ctx.Err() != nil && cmd.Context().Err() == nil {
		return &exitError{statusInterrupted, context.Cause(ctx)}
	}
	return err
}

// completeSnapshots offers the names of all snapshots to the shell.
func completeSnapshots(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	list, err := snapshotInfos(cmd.Context())
	var names []string
	for _, info := range list {
		names = append(names, info.Label())
	}
	if err != nil && names == nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOneSnapshot offers them for the first argument.
func completeOneSnapshot(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return completeSnapshots(cmd, args, text)
}
