package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/kernelbuild"
	"github.com/holtvm/holt/internal/paths"
)

func newKernelBuild() *cobra.Command {
	var o kernelbuild.Options
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Compile Holt's own small kernel",
		Long: `Compile Holt's own kernel from the distribution's source package
(linux-source-6.12: the installed one, or else a copy fetched with apt), store it,
and make it the default. It has what guests need built in, no modules and little
else, and starts much faster than a distribution's kernel.

It takes some minutes of two processors and 1.3 GB of disk meanwhile, once:
the same source, configuration and compiler give the same kernel to the last byte,
so a second build is answered from the cache. The compiler and other tools must be
installed; if one is missing, the command to install it is printed. Interrupting
the command stops the compiler and leaves nothing behind.

A file given with --config has lines like CONFIG_XFS_FS=y, which are added to Holt's
own configuration and win over it. An option that does not come out as asked, because
it is unknown or depends on another, is an error. Everything must be built in: there
is no way to load modules.`,
		Example: `  holt kernel build
  holt kernel build --config xfs.config --name with-xfs
  holt kernel build --source linux-6.12.tar.xz
  holt run -- sh -c 'uname -r; zcat /proc/config.gz | grep XFS'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := paths.Default()
			if err != nil {
				return err
			}
			// The compilers are in process groups of their own: a terminal's
			// interrupt reaches holt alone.
			signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
			if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
				signals = append(signals, syscall.SIGHUP)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), signals...)
			defer stop()
			steps := newSteps()
			builder := kernelbuild.New(kernel.Open(dirs), dirs.Cache, steps.show)
			k, err := builder.Build(ctx, o)
			steps.clear()
			if errors.Is(err, context.Canceled) {
				return errors.New("build kernel: interrupted")
			}
			if err != nil {
				return err
			}
			if o.Keep {
				fmt.Fprintln(cmd.ErrOrStderr(), "source tree: "+builder.Tree())
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), k.Name)
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&o.Source, "source", "", "kernel source, a `DIR` or a tarball (default: the distribution's package)")
	fl.StringVar(&o.Config, "config", "", "`FILE` with further configuration")
	fl.StringVar(&o.Name, "name", "", "`NAME` in the store (default: the kernel's version)")
	fl.IntVarP(&o.Jobs, "jobs", "j", 0, "run `N` compilers at a time (default: one for each processor)")
	fl.BoolVar(&o.Keep, "keep", false, "build even if it is in the cache, and keep the source tree")
	return cmd
}
