package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

// runFlags are the flags of `holt run` as the user gave them.
type runFlags struct {
	rootfs, kernel, backend, workdir       string
	console, logLevel, configFile, envFile string
	memory                                 string
	cpus                                   uint8
	overlay, nested, interactive           bool
	tty, dryRun                            bool
	volumes, env, rlimits                  []string
	timeout                                time.Duration
}

func newRun() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [flags] [--] CMD [ARG...]",
		Short: "Run a program in a new microVM",
		Long: `Boot a guest, run CMD in it, stream its output, and exit with its status.

The guest's / is the directory of --rootfs, shared through virtio-fs: what the
program writes there stays, unless --overlay is given. Without --rootfs it is the
small busybox root that 'holt setup' made, and changes to it are lost.

Exit status: the program's own; 128+n if signal n ended it; 124 on --timeout;
125 if Holt itself failed; 126 if CMD cannot be executed; 127 if it is not found.`,
		Example: `  holt run -- echo hello
  holt run -c 2 -m 1G -v "$PWD:/src:ro" -w /src -- ls -l
  holt run --rootfs ./debian -it -- bash
  echo 'print(6*7)' | holt run --rootfs ./debian -i -- python3 -
  holt run --rootfs ./debian -m 2G --dry-run -- make > vm.json
  holt run --config vm.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // what follows CMD is CMD's
	fl.SortFlags = false
	fl.StringVar(&f.rootfs, "rootfs", "", "`DIR` on the host that becomes the guest's /")
	fl.BoolVar(&f.overlay, "overlay", false, "keep changes to / in guest memory; DIR is never written")
	fl.Uint8VarP(&f.cpus, "cpus", "c", 1, "number of virtual CPUs")
	fl.StringVarP(&f.memory, "memory", "m", "512M", "guest memory: `SIZE` in MiB, or with M or G (64M or more)")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "share a host directory: `HOST:GUEST[:ro]` (repeatable)")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set `KEY=VALUE`, or take KEY from the host (repeatable)")
	fl.StringVar(&f.envFile, "env-file", "", "read environment variables from `FILE`, a KEY=VALUE or KEY per line")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "working directory in the guest (default /)")
	fl.StringArrayVar(&f.rlimits, "rlimit", nil, "resource limit `NAME=SOFT[:HARD]`, such as RLIMIT_NOFILE=1024 (repeatable)")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the program a terminal")
	fl.DurationVar(&f.timeout, "timeout", 0, "kill the VM after `DURATION` (such as 90s), boot included")
	fl.BoolVar(&f.nested, "nested", false, "give the guest a /dev/kvm, to run virtual machines itself")
	fl.StringVar(&f.kernel, "kernel", "", "guest kernel: a bzImage or vmlinux `FILE`, or a name from 'holt kernel ls'")
	fl.StringVar(&f.backend, "backend", cmp.Or(os.Getenv("HOLT_BACKEND"), "auto"), "hypervisor: auto, kvm or qemu; HOLT_BACKEND sets the default")
	fl.StringVar(&f.console, "console-output", "", "write the guest console and all output to `FILE` as well")
	fl.StringVar(&f.logLevel, "log-level", "off", "off, error, warn, info, debug or trace; on standard error")
	fl.StringVar(&f.configFile, "config", "", "start from the JSON configuration in `FILE`; flags win")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print the merged JSON configuration and exit")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, args []string) error {
	cfg, err := f.config(cmd.Flags(), args)
	if err != nil {
		return err
	}
	if f.dryRun {
		text, err := json.MarshalIndent(cfg, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
		return err
	}
	// The running binary, even if the file was replaced meanwhile.
	vm, err := holt.New(cfg, holt.WithBackend(f.backend), holt.WithBinary("/proc/self/exe"))
	if err != nil {
		return err
	}
	vm.Stdout, vm.Stderr = os.Stdout, os.Stderr
	if f.interactive {
		vm.Stdin = os.Stdin
	}
	term := &terminal{}
	if f.tty {
		if term, err = openTerminal(f.interactive); err != nil {
			return err
		}
		vm.Terminal = term.size()
	}
	err = attend(vm, term, f.timeout)
	var exit *holt.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit):
		return &exitError{status: holt.ExitStatus(err)}
	case errors.Is(err, context.DeadlineExceeded):
		return &exitError{holt.StatusTimeout, fmt.Errorf("the VM was killed: --timeout %v is over", f.timeout)}
	}
	return &exitError{holt.ExitStatus(err), err}
}

// attend runs the VM with this process's signals and terminal. It returns the
// VM's error, or a killed-by-signal one when a signal came before the program.
func attend(vm *holt.VM, term *terminal, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, timeout)
		defer stop()
	}
	signals := watchSignals(vm, term, cancel)
	defer signals.stop()
	done := progress("starting the guest…")
	err := vm.Start(ctx)
	done()
	if err == nil {
		if err = term.raw(); err != nil {
			_ = vm.Kill()
			return err
		}
		defer term.restore()
		signals.started()
		defer context.AfterFunc(ctx, func() { _ = vm.Kill() })()
		err = vm.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// killedBy is the error of a VM that this process's signal ended.
func killedBy(sig syscall.Signal) error { return &holt.ExitError{Signal: sig} }
