package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newPoolExec() *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:   "exec [flags] NAME [--] CMD [ARG...]",
		Short: "Run a program in a VM of a pool",
		Long: `Take a VM of a pool, run CMD in it as 'holt exec' does, give the VM back, and exit with
CMD's status. If there is no VM that is ready, this waits for one. When this command
goes away, in whichever way, CMD is killed and the VM goes back to the pool, which
destroys it, unless it was started with --reuse.

Exit status: the program's own; 128+n if signal n ended it; 124 on --timeout;
125 if Holt itself failed; 126 if CMD cannot be executed; 127 if it is not found.`,
		Example: `  holt pool exec py -- python3 -c 'print(6 * 7)'
  holt pool exec -it py bash
  tar -c src | holt pool exec -i --timeout 5m py -- sh -c 'tar -x && make -C src test'`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completePools,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.runPooled(cmd, args) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the program a terminal")
	f.add(fl)
	fl.DurationVar(&f.timeout, "timeout", 0, "kill the program after `DURATION` (such as 90s)")
	return cmd
}

// runPooled runs a program in a VM that is this command's until it ends.
func (f *execFlags) runPooled(cmd *cobra.Command, args []string) error {
	name, words, err := poolWords(cmd, args)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return fmt.Errorf("name a pool and a program, as in `holt pool exec py -- python3 job.py`\nsee `%s --help`", cmd.CommandPath())
	}
	c, err := f.command()
	if err != nil {
		return err
	}
	c.Path, c.Args = words[0], words[1:]
	pool, err := holt.OpenPool(cmd.Context(), name, withSelf())
	if err != nil {
		return err
	}
	var vm *holt.VM
	err = untilInterrupted(cmd, func(ctx context.Context) (err error) {
		defer progress("waiting for a VM of the pool…")()
		vm, err = pool.Acquire(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = pool.Release(vm) }() // which the end of this process does, too
	return f.converse(cmd.Context(), vm, c)
}
