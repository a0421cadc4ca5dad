package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/holtvm/holt"
)

// openVM opens the VM with a name or id.
func openVM(ctx context.Context, name string) (*holt.VM, error) {
	return holt.Open(ctx, name, withSelf())
}

// maxAtOnce is how many VMs a command works on at once.
const maxAtOnce = 8

// forEach does f to each of the VMs, some at once, and prints the name of each as it
// is done. All that went wrong is one error.
func forEach(cmd *cobra.Command, names []string, f func(context.Context, *holt.VM) error) error {
	errs := make([]error, len(names))
	slots := make(chan struct{}, maxAtOnce)
	var all sync.WaitGroup
	var printing sync.Mutex
	for i, name := range names {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			vm, err := openVM(cmd.Context(), name)
			if err == nil {
				err = f(cmd.Context(), vm)
			}
			if errs[i] = err; err != nil {
				return
			}
			printing.Lock()
			defer printing.Unlock()
			_, errs[i] = fmt.Fprintln(cmd.OutOrStdout(), name)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// onVMs makes a command that does something to each of the VMs that it is given.
func onVMs(use, short, long string, f func(context.Context, *holt.VM) error) *cobra.Command {
	return &cobra.Command{
		Use:               use + " VM...",
		Short:             short,
		Long:              long,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeVMs,
		RunE:              func(cmd *cobra.Command, args []string) error { return forEach(cmd, args, f) },
	}
}

// completeVMs offers the names of all VMs to the shell.
func completeVMs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	list, err := holt.List(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, info := range list {
		names = append(names, info.Label())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func newStart() *cobra.Command {
	var attach, interactive bool
	cmd := onVMs("start", "Start VMs that were created or have ended", `Start VMs, and print the name of each when its program runs. With -a, connect to the
program of one VM as 'holt attach' does, from its first output on, and exit with its
status.`, func(ctx context.Context, vm *holt.VM) error { return vm.Start(ctx) })
	several := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !attach {
			done := progress("starting…")
			err := several(cmd, args)
			done()
			if err == nil || len(args) > 1 {
				return err
			}
			return &exitError{holt.ExitStatus(err), err} // why the one program does not run
		}
		if len(args) > 1 {
			return errors.New("-a connects to one VM: name one")
		}
		vm, err := openVM(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return startAttached(cmd.Context(), vm, interactive)
	}
	cmd.Flags().BoolVarP(&attach, "attach", "a", false, "connect to the program's output")
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "with -a, connect standard input too")
	return cmd
}

// startAttached is `holt start -a`.
func startAttached(ctx context.Context, vm *holt.VM, interactive bool) error {
	info, err := vm.Info(ctx)
	if err != nil {
		return err
	}
	vm.Stdout, vm.Stderr = os.Stdout, os.Stderr
	term := &terminal{}
	if interactive {
		vm.Stdin = os.Stdin
	}
	if info.Terminal {
		if term, err = openTerminal(interactive); err != nil {
			return err
		}
		vm.Terminal = term.size()
	}
	return attended(attend(vm, term, 0))
}

func newStop() *cobra.Command {
	var seconds int
	cmd := onVMs("stop", "Stop running VMs", `Ask the guest to end: its programs get SIGTERM and, when the time is over, SIGKILL;
then it powers off. A guest that does not answer has its power button pressed, and is
killed in the end. A paused VM goes on for that.`, func(ctx context.Context, vm *holt.VM) error {
		return vm.Shutdown(ctx, time.Duration(seconds)*time.Second)
	})
	timeFlag(cmd, &seconds)
	return cmd
}

func timeFlag(cmd *cobra.Command, seconds *int) {
	cmd.Flags().IntVarP(seconds, "time", "t", int(holt.StopGrace.Seconds()), "`SECONDS` between SIGTERM and SIGKILL")
}

func newRestart() *cobra.Command {
	var seconds int
	cmd := onVMs("restart", "Stop VMs if they run, and start them", "", func(ctx context.Context, vm *holt.VM) error {
		return vm.Restart(ctx, time.Duration(seconds)*time.Second)
	})
	timeFlag(cmd, &seconds)
	return cmd
}

func newKill() *cobra.Command {
	name := "KILL"
	cmd := onVMs("kill", "Kill VMs, or signal their programs", `End VMs at once: nothing in the guest is asked, and what it has not written is lost.
With -s, send that signal to the main program instead. ('-s KILL' kills the VM.)`,
		func(_ context.Context, vm *holt.VM) error {
			sig, err := parseSignal(name)
			if err != nil {
				return err
			}
			if sig == syscall.SIGKILL {
				return vm.Kill()
			}
			return vm.Signal(sig)
		})
	cmd.Flags().StringVarP(&name, "signal", "s", name, "`SIGNAL`: a name such as TERM, or a number")
	return cmd
}

// parseSignal reads TERM, SIGTERM or 15.
func parseSignal(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return syscall.Signal(n), nil
	}
	if sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("signal %q: must be a name such as TERM or SIGHUP, or a number from 1 to 64", name)
}

func newPause() *cobra.Command {
	return onVMs("pause", "Stop the processors of running VMs", "", func(ctx context.Context, vm *holt.VM) error { return vm.Pause(ctx) })
}

func newResume() *cobra.Command {
	return onVMs("resume", "Let paused VMs go on", "", func(ctx context.Context, vm *holt.VM) error { return vm.Resume(ctx) })
}

func newWait() *cobra.Command {
	return &cobra.Command{
		Use:   "wait VM...",
		Short: "Wait until VMs have ended, and print their exit statuses",
		Long: `Wait until each VM has ended, and print the exit status of its program: the number
that 'holt run' would have ended with. One that ended before is not waited for.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				vm, err := openVM(cmd.Context(), name)
				if err != nil {
					return err
				}
				err = vm.WaitContext(cmd.Context())
				if err != nil && !isEnd(err) {
					return err
				}
				if guest, ok := errors.AsType[*holt.GuestError](err); ok {
					printError(os.Stderr, guest)
				}
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), holt.ExitStatus(err)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// isEnd reports whether an error of Wait says how a VM ended, and not that nobody knows.
func isEnd(err error) bool {
	_, exit := errors.AsType[*holt.ExitError](err)
	_, guest := errors.AsType[*holt.GuestError](err)
	return exit || guest || errors.Is(err, holt.ErrProgramNotFound) || errors.Is(err, holt.ErrProgramNotExecutable)
}

func newRemove() *cobra.Command {
	var force bool
	cmd := onVMs("rm", "Remove VMs that do not run", `Remove VMs and what was kept of them: their logs and their states. Root directories,
disks and shared directories are not touched. With -f, VMs that run are killed first,
and a VM that does not exist is no error.`, func(ctx context.Context, vm *holt.VM) error { return vm.Remove(ctx, force) })
	plain := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := plain(cmd, args)
		if force && onlyNotFound(err) {
			return nil
		}
		return err
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill VMs that run")
	return cmd
}

// onlyNotFound reports whether all of a joined error is that VMs do not exist.
func onlyNotFound(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, holt.ErrNotFound) {
			return false
		}
	}
	return true
}

func newRename() *cobra.Command {
	return &cobra.Command{
		Use:               "rename VM NAME",
		Short:             "Give a VM another name",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeVMs,
		RunE: func(cmd *cobra.Command, args []string) error {
			vm, err := openVM(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return vm.Rename(cmd.Context(), args[1])
		},
	}
}
