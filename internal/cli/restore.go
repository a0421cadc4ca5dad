package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

// restoreFlags are the flags of `holt restore`.
type restoreFlags struct {
	program                  execFlags // of CMD
	name                     string
	remove, prefetch, record bool
	volumes, disks, ports    []string // what takes the place of what the saved VM had
	timeout                  time.Duration
}

func newRestore() *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore [flags] NAME [[--] CMD [ARG...]]",
		Short: "Go on from a snapshot, in a VM of its own",
		Long: `Make a VM that goes on where a snapshot was taken. The snapshot stays as it is, and any
number of VMs can go on from it at once. Each has a host name, an identity and random
numbers of its own, and the right time.

Without CMD, this command is connected to the VM's main program: it shows what that
prints from now on, passes signals on, and exits with its status. With CMD, CMD runs in
the VM beside the main program, as with 'holt exec', and the VM is killed when it ends.

With -d the VM goes on without this command, which prints its name, and it stays until
'holt rm'. CMD is then a session that goes on alone: see 'holt exec ls'.

Directories that were shared with the saved VM, read-only disks and published ports are
used again where they were; -v, --disk and -p replace them. A writable disk is as it was
when it was saved, and what this VM writes to it is lost in the end.

Exit status: the program's own; 128+n if signal n ended it; 124 on --timeout;
125 if Holt itself failed; 126 if CMD cannot be executed; 127 if it is not found.`,
		Example: `  holt restore warm
  holt restore warm -- python3 -c 'import app; app.job()'
  holt restore -d --name web2 -p 8081:80 warm
  holt restore -d -p none -v "$PWD/other:/src" warm
  holt restore --record warm -- ./test && holt restore --prefetch warm -- ./test`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeOneSnapshot,
		RunE: func(cmd *cobra.Command, args []string) error {
			words, err := programAfter(args[1:])
			if err != nil {
				return err
			}
			return f.restore(cmd, args[0], words)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.program.detach, "detach", "d", false, "leave the VM running, and print its name")
	fl.BoolVarP(&f.program.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.program.tty, "tty", "t", false, "give CMD a terminal")
	f.program.add(fl)
	fl.StringVar(&f.name, "name", "", "`NAME` of the VM, for other commands")
	fl.BoolVar(&f.remove, "rm", false, "remove the VM when it has ended (without -d it always is)")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "share `HOST:GUEST` in place of what the guest had at GUEST (repeatable)")
	fl.StringArrayVar(&f.disks, "disk", nil, "use `NAME=FILE[:ro]`, with the same content, for a disk: root, disk0, disk1 and so on (repeatable)")
	fl.StringArrayVarP(&f.ports, "publish", "p", nil, "publish `[IP:]HOST:GUEST[/udp]` in place of what was published; none publishes nothing (repeatable)")
	fl.BoolVar(&f.prefetch, "prefetch", false, "make the memory ready that --record has noted, before the VM goes on")
	fl.BoolVar(&f.record, "record", false, "note in the snapshot which memory was used until CMD ended, for --prefetch; the first note stays")
	fl.DurationVar(&f.timeout, "timeout", 0, "kill the VM after `DURATION` (such as 90s)")
	return cmd
}

// programAfter is the program that follows a snapshot's name, if one does.
func programAfter(words []string) ([]string, error) {
	switch {
	case len(words) == 0:
		return nil, nil
	case words[0] == "--" && len(words) == 1:
		return nil, errors.New("name a program after --, or leave that out")
	case words[0] == "--":
		return words[1:], nil
	case strings.HasPrefix(words[0], "-"):
		return nil, fmt.Errorf("flags such as %s stand before the snapshot's name; a program whose name begins so follows --", words[0])
	}
	return words, nil
}

// restore makes a VM of the snapshot, and runs words in it if there are any.
func (f *restoreFlags) restore(cmd *cobra.Command, name string, words []string) error {
	c, err := f.program.command()
	opts, oerr := f.options()
	if err := errors.Join(f.check(len(words) > 0), err, oerr); err != nil {
		return err
	}
	if len(words) > 0 {
		c.Path, c.Args = words[0], words[1:]
	}
	if f.program.detach {
		return untilInterrupted(cmd, func(ctx context.Context) error { return f.leave(ctx, cmd, name, c, opts) })
	}
	s, err := holt.OpenSnapshot(cmd.Context(), name)
	if err != nil {
		return err
	}
	vm, err := holt.FromSnapshot(cmd.Context(), name, opts...)
	if err != nil {
		return err
	}
	if c.Path == "" {
		return f.attend(s, vm)
	}
	return f.runIn(cmd.Context(), s, vm, c)
}

// attend connects this process to the main program.
func (f *restoreFlags) attend(s *holt.Snapshot, vm *holt.VM) error {
	info, err := s.Info()
	if err != nil {
		return err
	}
	switch {
	case f.program.interactive && !info.Stdin:
		return errors.New("-i: the saved program has no standard input, since it was started without -i")
	case f.program.tty && !info.Terminal:
		return errors.New("-t: the saved program has no terminal, since it was started without -t")
	}
	term, err := (&attachFlags{noStdin: !f.program.interactive}).terminal(info.Terminal)
	if err != nil {
		return err
	}
	vm.Stdout, vm.Stderr = os.Stdout, os.Stderr
	if f.program.interactive {
		vm.Stdin = os.Stdin
	}
	return outOfTime(attended(attend(vm, term, f.timeout)), f.timeout)
}

// runIn runs a program in the VM, which ends with it.
func (f *restoreFlags) runIn(ctx context.Context, s *holt.Snapshot, vm *holt.VM, c holt.Command) error {
	within := ctx
	if f.timeout > 0 {
		var stop context.CancelFunc
		within, stop = context.WithTimeout(ctx, f.timeout)
		defer stop()
	}
	defer func() { _ = vm.Kill() }() // it may not have come up
	err := f.program.converseAfter(within, vm, c, func(ctx context.Context) error {
		defer progress("restoring the VM…")()
		return vm.Start(ctx)
	})
	if exit, ok := errors.AsType[*exitError](err); f.record && (err == nil || ok && exit.err == nil) {
		if rerr := s.RecordWorkingSet(ctx, vm); rerr != nil {
			return rerr
		}
	}
	return outOfTime(err, f.timeout)
}

// leave is `holt restore -d`. A VM in which the program cannot be started is not kept.
func (f *restoreFlags) leave(ctx context.Context, cmd *cobra.Command, name string, c holt.Command, opts []holt.Option) error {
	opts = append(opts, holt.Keep())
	if f.remove {
		opts = append(opts, holt.AutoRemove())
	}
	done := progress("restoring the VM…")
	vm, err := holt.Restore(ctx, name, opts...)
	if err == nil && c.Path != "" {
		if _, err = f.program.startDetached(ctx, vm, c); err != nil {
			err = errors.Join(err, removeAgain(ctx, vm))
		}
	}
	done()
	if err != nil {
		return &exitError{holt.ExitStatus(err), err}
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), vm.Name())
	return err
}
