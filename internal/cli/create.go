package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

func newCreate() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "create [flags] [--] CMD [ARG...]",
		Short: "Make a microVM without starting it",
		Long: `Make a VM around CMD, and print its name. 'holt start' starts it, any number of
times, and it stays until 'holt rm'. The flags are those of 'holt run', which see.`,
		Example: `  holt create --name web --rootfs ./debian -p 8080:80 -- nginx -g 'daemon off;'
  holt start web`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := f.config(cmd.Flags(), args)
			if err != nil {
				return err
			}
			vm, err := f.create(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), vm.Name())
			return err
		},
	}
	f.add(cmd.Flags())
	return cmd
}

// create makes a VM that is kept.
func (f *runFlags) create(ctx context.Context, cfg holt.Config) (*holt.VM, error) {
	opts := f.options()
	if f.remove {
		opts = append(opts, holt.AutoRemove())
	}
	if f.interactive {
		opts = append(opts, holt.WithStdin())
	}
	if f.tty {
		// Whoever attaches sets the size of his own.
		opts = append(opts, holt.WithTerminal(*(&terminal{}).size()))
	}
	return holt.Create(ctx, cfg, opts...)
}

// runDetached is `holt run -d`. A VM that does not come up is not kept.
func (f *runFlags) runDetached(cmd *cobra.Command, cfg holt.Config) error {
	if f.timeout > 0 {
		return errors.New("--timeout ends a VM that this command waits for: leave it or -d out")
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	vm, err := f.create(ctx, cfg)
	if err != nil {
		return err
	}
	done := progress("starting the guest…")
	err = vm.Start(ctx)
	done()
	if err != nil {
		err = errors.Join(err, removeAgain(ctx, vm))
		return &exitError{holt.ExitStatus(err), err}
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), vm.Name())
	return err
}

// removeAgain removes a VM that did not come up, whether ctx has ended or not.
func removeAgain(ctx context.Context, vm *holt.VM) error {
	if err := vm.Remove(context.WithoutCancel(ctx), true); !errors.Is(err, holt.ErrNotFound) {
		return err
	}
	return nil
}
