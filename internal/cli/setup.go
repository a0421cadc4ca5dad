package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/baseroot"
	"github.com/holtvm/holt/internal/hypervisor/qemu"
	"github.com/holtvm/holt/internal/kernel"
	"github.com/holtvm/holt/internal/paths"
)

func newSetup() *cobra.Command {
	return &cobra.Command{
		Use:   "setup",
		Short: "Get a guest kernel and a small root directory",
		Long: `Get what 'holt run' needs: the distribution's cloud kernel, unless there is a
kernel already, and a small root directory made of busybox. Both come through the
distribution's package client, as any user; nothing is installed on the host.
Running it again changes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return setup(cmd.Context(), cmd.OutOrStdout()) },
	}
}

func setup(ctx context.Context, out io.Writer) error {
	dirs, err := paths.Default()
	if err != nil {
		return err
	}
	steps := newSteps()
	defer steps.clear()
	store := kernel.Open(dirs)
	k, err := store.Default()
	if errors.Is(err, kernel.ErrNoKernel) {
		k, err = store.Fetch(ctx, steps.show)
	}
	if err != nil {
		return err
	}
	steps.clear()
	fmt.Fprintf(out, "kernel: %s (%s)\n", k.Name, k.Source)
	root := dirs.BaseRoot()
	if err := baseroot.Make(ctx, root, dirs.Cache, steps.show); err != nil {
		return err
	}
	steps.clear()
	fmt.Fprintf(out, "root:   %s\n", root)
	if _, err := qemu.New(false); err != nil {
		return err
	}
	fmt.Fprintln(out, "qemu:   installed")
	return nil
}

// useBaseRoot makes cfg run in the base root, whose directory stays as it is.
func useBaseRoot(cfg *holt.Config) error {
	dirs, err := paths.Default()
	if err != nil {
		return err
	}
	root := dirs.BaseRoot()
	if _, err := os.Stat(root); err != nil {
		return errors.New("there is no base root yet: run `holt setup`, or name a root directory with --rootfs")
	}
	cfg.RootPath, cfg.RootOverlay = root, true
	return nil
}
