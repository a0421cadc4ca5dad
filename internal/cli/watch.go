package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/agentproto"
)

type watchFlags struct{ recursive, asJSON bool }

func newWatch() *cobra.Command {
	f := &watchFlags{}
	cmd := &cobra.Command{
		Use:   "watch [flags] VM:PATH",
		Short: "Show changes of files in a VM",
		Long: `Show what happens to a file of the guest, or to what is in a directory, until
interrupted: create, write, chmod, remove, rename (it has another name now), or overflow
(some events were lost). When standard error says so, or with --json the first event
"ready", changes are seen from then on.`,
		Example: `  holt watch -r web:/srv
  holt watch --json web:/var/spool/app | jq -r 'select(.op == "create").path'`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeGuestPath,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "r", false, "watch the directories below too, those that appear later as well")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON, a line for each")
	return cmd
}

// eventLine is a change as JSON.
type eventLine struct {
	Op   holt.FileOp     `json:"op"`
	Path agentproto.Name `json:"path"`
}

func (f *watchFlags) run(cmd *cobra.Command, arg string) error {
	vm, g, err := openGuestPath(cmd.Context(), arg)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	show := func(name string) string { return name }
	if isTerminal(out) {
		show = quoted
	}
	for e, err := range vm.Watch(cmd.Context(), g.absolute(), f.recursive) {
		switch {
		case err != nil:
		case f.asJSON:
			err = writeJSONLine(out, eventLine{e.Op, agentproto.Name(e.Path)})
		case e.Op == holt.FileReady:
			fmt.Fprintln(cmd.ErrOrStderr(), "holt: watching "+arg)
		default:
			_, err = fmt.Fprintf(out, "%-8s %s\n", e.Op, show(e.Path))
		}
		if err != nil {
			return fileFailure(arg, err)
		}
	}
	return nil
}
