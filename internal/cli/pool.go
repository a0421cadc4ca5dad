package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holtvm/holt"
)

func newPool() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pool",
		Short: "Keep VMs ready, and run programs in them",
		Long: `A pool keeps VMs ready that are copies of one: of a snapshot, or of a VM that is booted
once. 'holt pool start' is the pool, for as long as it runs; 'holt pool exec', in another
terminal or script of the same user, takes one of its VMs for one program. A VM is used
once, unless --reuse says otherwise, and another takes its place in the background.
VMs of the kvm backend can be copied.`,
		Example: `  holt pool start py --snapshot warm --min 4 &
  holt pool exec py -- python3 -c 'print(6 * 7)'
  holt pool stats py
  holt pool stop py`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPoolStart(), newPoolExec(), newPoolLs(), newPoolStats(), newPoolStop())
	return cmd
}

// poolWords splits the arguments into the pool's name and the words of a program. Flags
// may stand before and after the name.
func poolWords(cmd *cobra.Command, args []string) (name string, words []string, err error) {
	if len(args) == 0 {
		return "", nil, fmt.Errorf("name the pool\nsee `%s --help`", cmd.CommandPath())
	}
	if err := cmd.Flags().Parse(args[1:]); err != nil {
		return "", nil, cmd.FlagErrorFunc()(cmd, err)
	}
	if help, err := cmd.Flags().GetBool("help"); err == nil && help {
		return "", nil, pflag.ErrHelp
	}
	return args[0], cmd.Flags().Args(), nil
}

// completePools offers the names of all pools to the shell.
func completePools(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	list, err := holt.Pools(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, info := range list {
		names = append(names, info.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newPoolLs() *cobra.Command {
	var quiet, asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "List pools",
		Long: `List the pools that run. IDLE VMs are ready, IN USE are those that were handed out, of MAX
at most; WAITING are the commands for which there is none yet.`,
		Example: `  holt pool ls
  holt pool stop $(holt pool ls -q)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := holt.Pools(cmd.Context())
			if err != nil {
				return err
			}
			switch out := cmd.OutOrStdout(); {
			case quiet:
				for _, i := range list {
					fmt.Fprintln(out, i.Name)
				}
				return nil
			case asJSON:
				return printJSON(out, orEmpty(list))
			default:
				return printPools(out, list, time.Now())
			}
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print names alone, one a line")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printPools(out io.Writer, list []holt.PoolInfo, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAME\tOF\tSTARTED\tIDLE\tIN USE\tMAX\tWAITING\tHITS\tMISSES")
	for _, i := range list {
		if i.Error != "" {
			fmt.Fprintf(w, "%s\t(%s)%s\n", i.Name, shorten(i.Error, 60), strings.Repeat("\t-", 7))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s ago\t%d\t%d\t%d\t%d\t%d\t%d\n", i.Name, cmp.Or(shorten(i.From, 40), "-"),
			age(max(now.Sub(i.Started), 0)), i.Idle, i.InUse, i.Max, i.Waiting, i.Hits, i.Misses)
	}
	return w.Flush()
}

func newPoolStats() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats [flags] NAME",
		Short: "Show what a pool has and what it did",
		Long: `Show the figures of a pool. What is counted begins with the pool. At any moment

  hits + misses = in use + released
  created       = idle + in use + ending + destroyed
  max           is at least idle + in use + ending + starting`,
		Example: `  holt pool stats py
  holt pool stats --json py | jq '.hits / (.hits + .misses)'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			pool, err := holt.OpenPool(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			info, err := pool.Info(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), info)
			}
			return printPool(cmd.OutOrStdout(), info, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printPool(out io.Writer, i holt.PoolInfo, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row := func(what string, n any, about string) { fmt.Fprintf(w, "%s\t%v\t%s\n", what, n, about) }
	fmt.Fprintf(w, "pool %s of %s, since %s (process %d)\n", i.Name, cmp.Or(shorten(i.From, 60), "-"), age(max(now.Sub(i.Started), 0)), i.PID)
	row("idle", i.Idle, fmt.Sprintf("ready; %d are kept so", i.Min))
	row("in use", i.InUse, "handed out")
	row("starting", i.Starting, "not ready yet")
	row("ending", i.Ending, "being destroyed")
	row("max", i.Max, "that these four may be together")
	row("waiting", i.Waiting, "for a VM")
	row("hits", i.Hits, "VMs that were handed out at once")
	row("misses", i.Misses, "VMs that were waited for")
	row("released", i.Released, "VMs that were given back")
	row("created", i.Created, "starts that succeeded")
	row("failed", i.Failed, "starts that did not")
	row("destroyed", i.Destroyed, "VMs of which nothing is left")
	row("evicted", i.Evicted, "of --idle-timeout")
	row("unhealthy", i.Unhealthy, "ended or did not answer while nobody used them")
	return w.Flush()
}

func newPoolStop() *cobra.Command {
	return &cobra.Command{
		Use:   "stop NAME...",
		Short: "End pools",
		Long: `End pools with all their VMs, and print the name of each when nothing of it is left.
Programs that 'holt pool exec' runs in them are killed.`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
			return completePools(cmd, nil, text)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				pool, err := holt.OpenPool(cmd.Context(), name)
				if err == nil {
					err = pool.Stop(cmd.Context())
				}
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
