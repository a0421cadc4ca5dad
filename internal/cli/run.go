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
	"github.com/spf13/pflag"

	"github.com/holtvm/holt"
)

// runFlags are the flags of `holt run` as the user gave them.
type runFlags struct {
	rootfs, rootDisk, kernel, backend      string
	console, logLevel, configFile, envFile string
	memory, cpus, workdir, cpuTemplate     string
	network, ip, pcap                      string
	cpuQuota                               uint64
	overlay, nested, interactive           bool
	tty, dryRun                            bool
	volumes, disks, env, rlimits           []string
	ports, dns                             []string
	rules                                  []string // of --allow and --deny, in their common order
	timeout                                time.Duration
	name, snapshot                         string
	detach, remove, warm                   bool
}

func newRun() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run [flags] [--] CMD [ARG...]",
		Short: "Run a program in a new microVM",
		Long: `Boot a guest, run CMD in it, stream its output, and exit with its status.

The guest's / is the directory of --rootfs, shared through virtio-fs, or the file
system of --root-disk: what the program writes there stays, unless --overlay is
given. If --rootfs is a file it is a gzip-compressed cpio archive, which is unpacked
into guest memory. Without either it is the small busybox root that 'holt setup'
made, and changes to it are lost.

The guest reaches the internet and nothing of the host; --network, --allow and
--deny change that. The first rule that matches a target decides, else the network:
  none     no network device
  local    the host's loopback, as host.holt.internal; published ports are local
  public   the internet, but no private, link-local or metadata address (default)
  all      whatever the host reaches, and the host as host.holt.internal

With -d the VM goes on without this command, which prints its name: 'holt ps' lists
it, 'holt exec' runs programs in it, 'holt logs' shows its output, and it stays until
'holt rm'.

With --warm the guest does not boot each time: the first run with these settings keeps
a booted guest, and each later one goes on from there, whichever program it runs. A VM
with disks or --nested boots all the same. With --snapshot, CMD runs in a VM that goes
on from a saved one, beside the program that runs there; 'holt restore' does the same
and can do more. Both need the kvm backend.

Exit status: the program's own; 128+n if signal n ended it; 124 on --timeout;
125 if Holt itself failed; 126 if CMD cannot be executed; 127 if it is not found.`,
		Example: `  holt run -- echo hello
  holt run -c 2 -m 1G -v "$PWD:/src:ro" -w /src -- ls -l
  holt run --rootfs ./debian -it -- bash
  holt run --rootfs ./debian -p 8080:80 -- nginx -g 'daemon off;'
  holt run --allow '*.example.com:443' --deny any -- wget -O- https://www.example.com
  holt run --root-disk ./root.ext4 --disk ./data.img:ro -- ls /dev/vda /dev/vdb
  echo 'print(6*7)' | holt run --rootfs ./debian -i -- python3 -
  holt run --rootfs ./debian -m 2G --dry-run -- make > vm.json
  holt run --config vm.json
  holt run -d --name web --rootfs ./debian -p 8080:80 -- nginx -g 'daemon off;'
  holt run --warm -- echo hello
  holt run --snapshot warm -- ps`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.detach, "detach", "d", false, "leave the VM running, and print its name")
	f.add(fl)
	fl.StringVar(&f.snapshot, "snapshot", "", "go on from the snapshot `NAME` and run CMD there, as 'holt restore' does")
	fl.BoolVar(&f.warm, "warm", false, "keep a booted guest and go on from it, from the second run on")
	fl.DurationVar(&f.timeout, "timeout", 0, "kill the VM after `DURATION` (such as 90s), boot included")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print the merged JSON configuration and exit")
	return cmd
}

// add adds the flags that say what a VM is.
func (f *runFlags) add(fl *pflag.FlagSet) {
	fl.SetInterspersed(false) // what follows CMD is CMD's
	fl.SortFlags = false
	fl.StringVar(&f.name, "name", "", "`NAME` of the VM, for other commands")
	fl.BoolVar(&f.remove, "rm", false, "remove the VM when it has ended (without -d it always is)")
	fl.StringVar(&f.rootfs, "rootfs", "", "`PATH` on the host that becomes the guest's /: a directory, or a gzip-compressed cpio archive")
	fl.StringVar(&f.rootDisk, "root-disk", "", "raw disk image whose file system becomes the guest's /: `FILE[:ro]`")
	fl.BoolVar(&f.overlay, "overlay", false, "keep changes to / in guest memory; the directory or disk is never written")
	fl.StringVarP(&f.cpus, "cpus", "c", "1", "virtual CPUs; with a fraction, `N` is also the most CPU time that they get (0.5: half a CPU)")
	fl.Uint64Var(&f.cpuQuota, "cpu-quota", 0, "CPU time in `µs` for all virtual CPUs together in each 100 ms")
	fl.StringVarP(&f.memory, "memory", "m", "512M", "most guest memory: `SIZE` in MiB, or with M or G (64M or more); what the guest frees goes back to the host")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "share a host directory: `HOST:GUEST[:ro]` (repeatable)")
	fl.StringArrayVar(&f.disks, "disk", nil, "add a raw disk image or block device: `FILE[:ro]`, as /dev/disk/by-id/virtio-disk0 and so on (repeatable)")
	fl.StringArrayVarP(&f.ports, "publish", "p", nil, "publish a guest port: `[IP:]HOST:GUEST[/udp]` (repeatable)")
	fl.StringVar(&f.network, "network", "public", "how far the guest's network reaches: none, local, public or all")
	fl.Var(ruleFlag{&f.rules, "allow "}, "allow", "let the guest reach `TARGET`: any, IP, CIDR, host or *.domain, with :PORT and /tcp or /udp (repeatable)")
	fl.Var(ruleFlag{&f.rules, "deny "}, "deny", "keep the guest from `TARGET` (repeatable; the first matching --allow or --deny decides)")
	fl.StringVar(&f.ip, "ip", "", "the guest's `IPv4[/PREFIX]` address and network (default 10.0.2.15/24)")
	fl.StringArrayVar(&f.dns, "dns", nil, "look names up at `IP[:PORT]`, not with the host's resolver (repeatable)")
	fl.StringVar(&f.pcap, "pcap", "", "write every frame of the guest's network to `FILE`, for tshark or wireshark")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set `KEY=VALUE`, or take KEY from the host (repeatable)")
	fl.StringVar(&f.envFile, "env-file", "", "read environment variables from `FILE`, a KEY=VALUE or KEY per line")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "working directory in the guest (default /)")
	fl.StringArrayVar(&f.rlimits, "rlimit", nil, "resource limit `NAME=SOFT[:HARD]`, such as RLIMIT_NOFILE=1024 (repeatable)")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the program a terminal")
	fl.StringVar(&f.cpuTemplate, "cpu-template", "", "show the guest no more of the processor than `LEVEL` has: x86-64-v2 or x86-64-v3; for snapshots that other hosts restore")
	fl.BoolVar(&f.nested, "nested", false, "give the guest a /dev/kvm, to run virtual machines itself")
	fl.StringVar(&f.kernel, "kernel", "", "guest kernel: a bzImage or vmlinux `FILE`, or a name from 'holt kernel ls'")
	fl.StringVar(&f.backend, "backend", cmp.Or(os.Getenv("HOLT_BACKEND"), "auto"), "hypervisor: auto, kvm or qemu; HOLT_BACKEND sets the default")
	fl.StringVar(&f.console, "console-output", "", "write the guest console and all output to `FILE` as well")
	fl.StringVar(&f.logLevel, "log-level", "off", "off, error, warn, info, debug or trace; on standard error")
	fl.StringVar(&f.configFile, "config", "", "start from the JSON configuration in `FILE`; flags win")
}

func (f *runFlags) run(cmd *cobra.Command, args []string) error {
	if cmd.Flags().Changed("snapshot") {
		return f.runSnapshot(cmd, args)
	}
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
	if f.detach {
		return f.runDetached(cmd, cfg)
	}
	vm, err := holt.New(cfg, f.options()...)
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
	return outOfTime(attended(attend(vm, term, f.timeout)), f.timeout)
}

// options is what the flags say of how the VM is run.
func (f *runFlags) options() []holt.Option {
	opts := []holt.Option{withSelf(), holt.WithBackend(f.backend), holt.WithName(f.name)}
	if f.warm {
		opts = append(opts, holt.Warm())
	}
	return opts
}

// outOfTime says so if an error is that a VM was killed because of --timeout.
func outOfTime(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &exitError{holt.StatusTimeout, fmt.Errorf("the VM was killed: --timeout %v is over", timeout)}
	}
	return err
}

// attended is how this process ends after the guest's program did: like that, without
// a word, or with Holt's own error.
func attended(err error) error {
	if err == nil {
		return nil
	}
	status := holt.ExitStatus(err)
	if _, ok := errors.AsType[*holt.ExitError](err); ok {
		err = nil
	}
	return &exitError{status, err}
}

// withSelf runs monitors from the running binary, even if its file was replaced
// meanwhile.
func withSelf() holt.Option { return holt.WithBinary("/proc/self/exe") }

// ruleFlag is --allow or --deny. Both add to one list, since the order counts.
type ruleFlag struct {
	rules *[]string
	verb  string
}

// Set implements pflag.Value.
func (r ruleFlag) Set(target string) error {
	*r.rules = append(*r.rules, r.verb+target)
	return nil
}

// String implements pflag.Value: there is no default.
func (ruleFlag) String() string { return "" }

// Type implements pflag.Value.
func (ruleFlag) Type() string { return "target" }

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
	return converse(ctx, cancel, vm, term, lastResort{"killing the VM", syscall.SIGKILL}, func() error {
		defer progress("starting the guest…")()
		return vm.Start(ctx)
	}, func() error {
		defer context.AfterFunc(ctx, func() { _ = vm.Kill() })()
		return vm.Wait()
	})
}

// killedBy is the error of a VM that this process's signal ended.
func killedBy(sig syscall.Signal) error { return &holt.ExitError{Signal: sig} }
