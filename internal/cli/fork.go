package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

// forkFlags are the flags of `holt fork`.
type forkFlags struct {
	copies         int
	name           string
	remove, asJSON bool
	ports          []string
}

func newFork() *cobra.Command {
	f := &forkFlags{}
	cmd := &cobra.Command{
		Use:   "fork [flags] VM",
		Short: "Make copies of a VM that runs",
		Long: `Make copies of a VM that runs or is paused, and print the name or id of each. They go on
where the VM is now, and so does the VM, which stands still for a moment. What none of
them has changed of its memory the host has once. They stay until 'holt rm', whatever
becomes of the VM.

Each copy is another machine: it has a host name, an identity and random numbers of its
own. Programs go on in it, those of 'holt exec' as sessions that nobody is connected to.
A writable disk is as it was, and a copy's changes to it are its own; shared directories
are the same ones. Ports that the VM publishes stay with it.

A copy that has ended boots when it is started again. VMs of the kvm backend can be
forked.`,
		Example: `  holt fork web
  holt fork -n 3 --name worker web          worker-1, worker-2 and worker-3
  holt fork --rm -p 8081:80 web
  for vm in $(holt fork -n 4 web); do holt exec -d $vm ./job; done`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			return untilInterrupted(cmd, func(ctx context.Context) error { return f.run(ctx, cmd, args[0]) })
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.IntVarP(&f.copies, "number", "n", 1, "make `N` copies")
	fl.StringVar(&f.name, "name", "", "`NAME` of the copy, or of several: NAME-1, NAME-2 and so on")
	fl.BoolVar(&f.remove, "rm", false, "remove each copy when it has ended")
	fl.StringArrayVarP(&f.ports, "publish", "p", nil, "publish a port of the copy: `[IP:]HOST:GUEST[/udp]` (repeatable)")
	fl.BoolVar(&f.asJSON, "json", false, "print all that is known about the copies, as JSON")
	return cmd
}

func (f *forkFlags) run(ctx context.Context, cmd *cobra.Command, name string) error {
	opts, err := f.options()
	if err != nil {
		return err
	}
	vm, err := openVM(ctx, name)
	if err != nil {
		return err
	}
	done := progress("forking…")
	copies, err := vm.Fork(ctx, f.copies, opts...)
	done()
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if !f.asJSON {
		for _, vm := range copies {
			fmt.Fprintln(out, vm.Name())
		}
		return nil
	}
	var list []holt.Info
	for _, vm := range copies {
		info, err := vm.Info(ctx)
		if err != nil {
			return err
		}
		list = append(list, info)
	}
	return printJSON(out, list)
}

// options is what the flags say of the copies.
func (f *forkFlags) options() ([]holt.Option, error) {
	if f.copies < 1 || f.copies > holt.MaxForks {
		return nil, fmt.Errorf("--number %d: must be from 1 to %d", f.copies, holt.MaxForks)
	}
	ports, err := replacePorts(f.ports)
	if err == nil && f.copies > 1 && len(f.ports) > 0 && !slices.Contains(f.ports, "none") {
		err = errors.New("--publish: a port of the host leads to one VM: publish ports of one copy, without --number")
	}
	opts := append([]holt.Option{withSelf(), holt.Keep(), holt.WithName(f.name)}, ports...)
	if f.remove {
		opts = append(opts, holt.AutoRemove())
	}
	return opts, err
}
