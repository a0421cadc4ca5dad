package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newTop() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "top [flags] VM",
		Short: "List the processes of a VM",
		Long: `List the processes of a VM's guest but for its kernel's own threads, as the guest
says. TIME is the processor time that each has used, and MEMORY what it has resident.`,
		Example: `  holt top web
  watch holt top web
  holt top --json web | jq -s 'max_by(.memory_bytes)'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			processes, err := vm.Processes(cmd.Context())
			if err != nil {
				return err
			}
			slices.SortFunc(processes, func(a, b holt.ProcessInfo) int { return cmp.Compare(a.PID, b.PID) })
			if asJSON {
				return writeJSONLines(cmd.OutOrStdout(), processes)
			}
			return printProcesses(cmd.OutOrStdout(), processes, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each")
	return cmd
}

func printProcesses(out io.Writer, processes []holt.ProcessInfo, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tPPID\tUSER\tSTATE\tTIME\tMEMORY\tSTARTED\tCOMMAND")
	for _, p := range processes {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%.2fs\t%s\t%s ago\t%s\n", p.PID, p.ParentPID, p.User, p.State,
			p.CPUTime.Seconds(), humanBytes(p.Memory), age(max(now.Sub(p.Started), 0)), p.Command)
	}
	return w.Flush()
}
