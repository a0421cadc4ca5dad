package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holtvm/holt"
)

func newPS() *cobra.Command {
	var all, quiet, asJSON bool
	var filters []string
	var format string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List VMs",
		Long: `List the VMs that run or, with -a, all VMs.

--filter shows those that match all of: state=STATE (created, starting, running,
paused, stopping or stopped; several of them are alternatives), name=TEXT (a part of
the name), id=PREFIX. --format takes a Go template over what 'holt inspect' shows.`,
		Example: `  holt ps -a
  holt ps -a --filter state=stopped --format '{{.Name}} {{.ExitStatus}}'
  holt rm $(holt ps -aq --filter state=stopped)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			match, err := parseFilters(filters)
			if err != nil {
				return err
			}
			list, err := holt.List(cmd.Context())
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(i holt.Info) bool {
				live := i.State != holt.StateCreated && i.State != holt.StateStopped
				return !all && !live && len(match.states) == 0 || !match.matches(i)
			})
			switch out := cmd.OutOrStdout(); {
			case quiet:
				for _, i := range list {
					fmt.Fprintln(out, i.Label())
				}
				return nil
			case asJSON:
				return printJSON(out, orEmpty(list))
			case format != "":
				return printTemplate(out, format, list)
			default:
				return printTable(out, list)
			}
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&all, "all", "a", false, "list VMs that do not run, too")
	fl.BoolVarP(&quiet, "quiet", "q", false, "print names alone, one a line")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	fl.StringArrayVarP(&filters, "filter", "f", nil, "list only VMs with `KEY=VALUE` (repeatable)")
	fl.StringVar(&format, "format", "", "print each VM through a Go `TEMPLATE`")
	return cmd
}

// orEmpty makes JSON of an empty list, not of none.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// filter is what --filter says.
type filter struct{ states, names, ids []string }

func parseFilters(texts []string) (f filter, err error) {
	states := []holt.State{holt.StateCreated, holt.StateStarting, holt.StateRunning, holt.StatePaused, holt.StateStopping, holt.StateStopped}
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		switch {
		case ok && key == "state" && slices.Contains(states, holt.State(value)):
			f.states = append(f.states, value)
		case ok && key == "state":
			return f, fmt.Errorf("--filter %q: there is no state %q: it must be one of %v", text, value, states)
		case ok && key == "name":
			f.names = append(f.names, value)
		case ok && key == "id":
			f.ids = append(f.ids, value)
		default:
			return f, fmt.Errorf("--filter %q: must be state=STATE, name=TEXT or id=PREFIX", text)
		}
	}
	return f, nil
}

func (f filter) matches(i holt.Info) bool {
	matches := func(list []string, ok func(string) bool) bool { return len(list) == 0 || slices.ContainsFunc(list, ok) }
	return matches(f.states, func(s string) bool { return string(i.State) == s }) &&
		matches(f.names, func(s string) bool { return strings.Contains(i.Name, s) }) &&
		matches(f.ids, func(s string) bool { return strings.HasPrefix(i.ID, s) })
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printTemplate[T any](out io.Writer, format string, list []T) error {
	t, err := template.New("--format").Parse(format)
	if err != nil {
		return err
	}
	for _, i := range list {
		if err := t.Execute(out, i); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	return nil
}

func printTable(out io.Writer, list []holt.Info) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tCPUS\tMEMORY\tPORTS\tCOMMAND")
	for _, i := range list {
		var ports []string
		for _, p := range i.Config.PortMap {
			ports = append(ports, p.String())
		}
		command := strings.Join(append([]string{i.Config.ExecPath}, i.Config.Args...), " ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d MiB\t%s\t%s\n", i.ID, cmp.Or(i.Name, "-"), describe(i, time.Now()),
			i.Config.VCPUCount, i.Config.MemoryMB, cmp.Or(strings.Join(ports, ","), "-"), shorten(command, 40))
	}
	return w.Flush()
}

// describe is a VM's state in words, such as "running for 3m".
func describe(i holt.Info, now time.Time) string {
	switch {
	case i.State == holt.StateRunning || i.State == holt.StatePaused:
		return fmt.Sprintf("%s for %s", i.State, age(now.Sub(i.Started)))
	case i.State == holt.StateStopped && i.Error != "" && (i.ExitStatus == nil || *i.ExitStatus == holt.StatusHoltFailed):
		return "stopped (failed) " + ago(i, now)
	case i.State == holt.StateStopped && i.ExitStatus != nil:
		return fmt.Sprintf("stopped (%d) %s", *i.ExitStatus, ago(i, now))
	}
	return string(i.State)
}

func ago(i holt.Info, now time.Time) string {
	if i.Finished.IsZero() {
		return ""
	}
	return age(now.Sub(i.Finished)) + " ago"
}

// age is a duration in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// shorten makes text fit into a column.
func shorten(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

func newInspect() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:               "inspect VM...",
		Short:             "Show all that is known about VMs, as JSON",
		Example:           "  holt inspect web\n  holt inspect --format '{{.State}}' web",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspectAll(cmd.OutOrStdout(), args, format, func(name string) (info holt.Info, err error) {
				vm, err := openVM(cmd.Context(), name)
				if err != nil {
					return info, err
				}
				return vm.Info(cmd.Context())
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "print each VM through a Go `TEMPLATE`")
	return cmd
}

// inspectAll prints what look finds under each name: as JSON or through a template.
func inspectAll[T any](out io.Writer, names []string, format string, look func(name string) (T, error)) error {
	var list []T
	for _, name := range names {
		info, err := look(name)
		if err != nil {
			return err
		}
		list = append(list, info)
	}
	if format != "" {
		return printTemplate(out, format, list)
	}
	return printJSON(out, list)
}

func newPrune() *cobra.Command {
	var force, created bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove VMs that have ended",
		Long: `Remove all VMs that have ended, and what dead ones and interrupted commands left
behind. Prints the names of the VMs that it removed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !force && term.IsTerminal(int(os.Stdin.Fd())) && !confirm(cmd.ErrOrStderr(), "Remove all VMs that have ended?") {
				return errors.New("nothing was removed")
			}
			removed, err := holt.Prune(cmd.Context(), created)
			for _, name := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().BoolVarP(&created, "all", "a", false, "remove VMs that were never started, too")
	return cmd
}

func confirm(w io.Writer, question string) bool {
	fmt.Fprint(w, question, " [y/N] ")
	var answer string
	_, _ = fmt.Scanln(&answer) // nothing is no
	return answer == "y" || answer == "Y" || answer == "yes"
}
