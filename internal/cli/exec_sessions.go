package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newExecLs() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [flags] VM",
		Short: "List the sessions of a VM",
		Long: `List the programs that 'holt exec' and 'holt shell' started in a VM and that run, and
those that ended while nobody was connected to them: their last output and their
status are kept for 'holt exec attach'.`,
		Example: `  holt exec ls web
  holt exec ls --json web | jq 'select(.running | not)'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			sessions, err := vm.Sessions(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSONLines(cmd.OutOrStdout(), sessions)
			}
			return printSessions(cmd.OutOrStdout(), sessions, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each")
	return cmd
}

func printSessions(out io.Writer, sessions []holt.Session, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "ID\tPID\tUSER\tSTARTED\tSTATE\tCOMMAND")
	for _, s := range sessions {
		state := "running"
		switch {
		case s.ExitStatus != nil:
			state = fmt.Sprintf("ended (%d)", *s.ExitStatus)
		case s.Attached:
			state = "attached"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s ago\t%s\t%s\n", s.ID, s.PID, cmp.Or(s.User, "root"), age(max(now.Sub(s.Started), 0)), state, commandText(s.Command))
	}
	return w.Flush()
}

// writeJSONLines writes each item as a line.
func writeJSONLines[T any](out io.Writer, items []T) error {
	for _, item := range items {
		if err := writeJSONLine(out, item); err != nil {
			return err
		}
	}
	return nil
}

func newExecAttach() *cobra.Command {
	f := &attachFlags{}
	cmd := &cobra.Command{
		Use:   "attach [flags] VM SESSION",
		Short: "Connect to a session that was left running",
		Long: `Show what the program of a session has printed last and prints from now on, connect
standard input to it if it has one, and exit with its status. Nobody else may be
connected to it. If this command goes away, the program goes on.`,
		Example:           "  holt exec ls web\n  holt exec attach web 3",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return f.attachSession(cmd.Context(), vm, args[1])
		},
	}
	f.add(cmd)
	return cmd
}

func (f *attachFlags) attachSession(ctx context.Context, vm *holt.VM, id string) error {
	sessions, err := vm.Sessions(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(sessions, func(s holt.Session) bool { return s.ID == id })
	term, err := f.terminal(at >= 0 && sessions[at].Terminal)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := vm.AttachSession(ctx, id)
	e.Stdout, e.Stderr = os.Stdout, os.Stderr
	if !f.noStdin {
		if e.Stdin, err = standardInput(term, f.detachKeys, e.Detach); err != nil {
			return err
		}
	}
	return left(vm, e, converse(ctx, cancel, e, term, lastResort{"leaving it", syscall.SIGINT}, e.Start, e.Wait))
}

func newExecKill() *cobra.Command {
	name, group := "TERM", false
	cmd := &cobra.Command{
		Use:   "kill [flags] VM SESSION...",
		Short: "Signal the programs of sessions",
		Long: `Send a signal to the program of each session. The session 'main' is the VM's main
program. With --group, the processes that it started get it too, except those that
left its process group.`,
		Example:           "  holt exec kill web 3\n  holt exec kill -s KILL --group web 3 4\n  holt exec kill -s HUP web main",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			sig, err := parseSignal(name)
			if err != nil {
				return err
			}
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, id := range args[1:] {
				if err := vm.SignalSession(cmd.Context(), id, sig, group); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&name, "signal", "s", name, "`SIGNAL`: a name such as TERM, or a number")
	cmd.Flags().BoolVarP(&group, "group", "g", group, "signal the whole process group")
	return cmd
}
