package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

type cpFlags struct{ owners, follow, quiet bool }

func newCp() *cobra.Command {
	f := &cpFlags{}
	cmd := &cobra.Command{
		Use:   "cp [flags] SRC DST",
		Short: "Copy files to or from a VM",
		Long: `Copy a file or directory between the host and a VM. One of SRC and DST is VM:PATH; a
path of the host with a colon before its first slash is written ./a:b.

As with cp -r, SRC is copied into DST, under its own name, if that is a directory, and
otherwise gets the name DST. A SRC that ends in /. stands for what is in it. Directories
become one with what there is, and other files take the place of what has their name:
they are made anew, so nothing is written through a link.

Permissions, times, and symbolic and hard links are kept. Copies in the guest belong to
root, those on the host to you, unless -a is given. Nothing that a guest answers changes
a file outside of DST.

With - as DST, a tar archive of SRC goes to standard output; with - as SRC, one from
standard input is unpacked in the directory DST.`,
		Example: `  holt cp ./site web:/srv/www              makes /srv/www, or /srv/www/site in it
  holt cp ./site/. web:/srv/www            what is in ./site
  holt cp web:/var/log/app.log .
  holt cp web:/etc - | tar -tv
  tar -cz . | gunzip | holt cp - web:/src
  holt cp a:/data - | holt cp - b:/        from one VM to another`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeGuestPath,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1]) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&f.owners, "archive", "a", false, "keep numeric users and groups, and set-id bits; on the host it takes root")
	fl.BoolVarP(&f.follow, "follow-link", "L", false, "copy what SRC leads to if it is a symbolic link")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func (f *cpFlags) run(cmd *cobra.Command, src, dst string) error {
	from, fromVM := parseGuestPath(src)
	to, toVM := parseGuestPath(dst)
	switch {
	case fromVM && toVM:
		return fmt.Errorf("both sides name a VM: copy with `holt cp %s - | holt cp - %s`", src, dst)
	case !fromVM && !toVM:
		return fmt.Errorf("neither side names a VM: one of %q and %q must be VM:PATH", src, dst)
	case dst == "-" && isTerminal(cmd.OutOrStdout()):
		return errors.New("a tar archive is not for a terminal: pipe or redirect standard output")
	}
	// What is half written is removed before the end. A second signal does not wait.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	name := from.vm
	if toVM {
		name = to.vm
	}
	vm, err := openVM(ctx, name)
	if err != nil {
		return err
	}
	bar := newCopyBar(os.Stderr, f.quiet)
	err = f.copy(ctx, cmd, vm, from, to, src, dst, bar)
	bar.clear()
	if ctx.Err() != nil && cmd.Context().Err() == nil {
		return &exitError{statusInterrupted, context.Cause(ctx)}
	}
	return fileFailure("", err)
}

// statusInterrupted is the exit status that a shell gives to what SIGINT ended.
const statusInterrupted = 130

// copy makes the copy between what src and dst name: one is a guestPath.
func (f *cpFlags) copy(ctx context.Context, cmd *cobra.Command, vm *holt.VM, from, to guestPath, src, dst string, bar *copyBar) error {
	var opts []holt.CopyOption
	if f.owners {
		opts = append(opts, holt.CopyOwners())
	}
	if f.follow {
		opts = append(opts, holt.CopyFollow())
	}
	if bar != nil {
		opts = append(opts, holt.CopyProgress(bar.show))
	}
	switch {
	case src == "-":
		return vm.CopyTarTo(ctx, cmd.InOrStdin(), to.path, opts...)
	case dst == "-":
		return vm.CopyTarFrom(ctx, from.path, cmd.OutOrStdout(), opts...)
	case to.vm != "":
		return vm.CopyTo(ctx, src, to.path, opts...)
	}
	return vm.CopyFrom(ctx, from.path, dst, opts...)
}
