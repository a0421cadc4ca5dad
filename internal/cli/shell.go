package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newShell() *cobra.Command {
	f := &execFlags{interactive: true}
	cmd := &cobra.Command{
		Use:   "shell [flags] [--] VM [CMD...]",
		Short: "Open a shell in a VM that runs",
		Long: `Run the login shell of the user (root, or --user) in a VM, with this terminal: its
size is followed, and every key but the detach keys goes to the guest. Without a
terminal as standard input, the shell reads its commands from there.

With CMD, the shell runs that: its words are joined with blanks, as ssh does.

The exit status is the shell's, as with 'holt exec', which see.`,
		Example: `  holt shell web
  holt shell -u www-data -w /srv web
  holt shell web 'cd /srv && ls | wc -l'
  holt shell web < script.sh`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.command()
			if err != nil {
				return err
			}
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			c.Login = true
			if len(args) > 1 {
				c.Args = []string{"-c", strings.Join(args[1:], " ")}
			}
			f.tty = term.IsTerminal(int(os.Stdin.Fd()))
			return f.converse(cmd.Context(), vm, c)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, detachKeysHelp)
	return cmd
}
