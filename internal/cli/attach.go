package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holtvm/holt"
)

// attachFlags are the flags of `holt attach` and `holt exec attach`.
type attachFlags struct {
	noStdin    bool
	detachKeys string
}

func (f *attachFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noStdin, "no-stdin", false, "do not connect standard input")
	cmd.Flags().StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, detachKeysHelp)
}

// terminal is this process's terminal for a program that has one, or none.
func (f *attachFlags) terminal(wanted bool) (*terminal, error) {
	if !wanted {
		return &terminal{}, nil
	}
	return openTerminal(!f.noStdin && term.IsTerminal(int(os.Stdin.Fd())))
}

func newAttach() *cobra.Command {
	f := &attachFlags{}
	cmd := &cobra.Command{
		Use:   "attach [flags] VM",
		Short: "Connect to a VM's main program",
		Long: `Show what the VM's main program prints from now on, and exit with its status when the
VM ends. If the program has a standard input ('holt run -d -i' or 'holt create -i') and
nobody else is connected to that, yours is connected to it.

Signals, such as Ctrl-C, go to the program; after three interrupts it is left to
itself. In a terminal, the detach keys leave it. What it printed before: 'holt logs'.`,
		Example: `  holt attach web
  holt attach --no-stdin web              only look`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return f.attach(cmd.Context(), vm)
		},
	}
	f.add(cmd)
	return cmd
}

// connect connects vm with its program, without input if somebody else is that.
func (f *attachFlags) connect(ctx context.Context, vm *holt.VM) error {
	err := vm.Attach(ctx)
	if errors.Is(err, holt.ErrBusy) && vm.Stdin != nil {
		fmt.Fprintln(os.Stderr, "holt: somebody else is connected to the program's input: yours is not")
		vm.Stdin = nil
		err = vm.Attach(ctx)
	}
	return err
}

// attach connects to the main program.
func (f *attachFlags) attach(ctx context.Context, vm *holt.VM) error {
	info, err := vm.Info(ctx)
	if err != nil {
		return err
	}
	f.noStdin = f.noStdin || !info.Stdin
	term, err := f.terminal(info.Terminal)
	if err != nil {
		return err
	}
	vm.Stdout, vm.Stderr = os.Stdout, os.Stderr
	if !f.noStdin {
		if vm.Stdin, err = standardInput(term, f.detachKeys, vm.Detach); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = converse(ctx, cancel, vm, term, lastResort{"leaving it", syscall.SIGINT}, func() error { return f.connect(ctx, vm) }, func() error {
		defer context.AfterFunc(ctx, func() { _ = vm.Detach() })()
		return vm.Wait()
	})
	if errors.Is(err, holt.ErrDetached) {
		fmt.Fprintf(os.Stderr, "\nholt: the program goes on: `holt attach %s` connects to it again\n", vm.Name())
		return nil
	}
	return attended(err)
}
