package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holtvm/holt"
)

// poolStartFlags are the flags of `holt pool start`: the pool's own, and those of the VM
// that is copied.
type poolStartFlags struct {
	run         runFlags
	min, max    int
	idleTimeout time.Duration
	reuse       bool
}

// poolFlags are the flags that pools of both kinds have.
var poolFlags = []string{"snapshot", "min", "max", "idle-timeout", "reuse", "volume", "disk"}

// notForPools are flags of `holt run` for what a VM of a pool does not have: a name of
// its own, somebody at its main program's streams, and what of the host only one VM can
// have.
var notForPools = []string{"name", "rm", "interactive", "tty", "publish", "pcap", "console-output"}

func newPoolStart() *cobra.Command {
	f := &poolStartFlags{}
	cmd := &cobra.Command{
		Use:   "start [flags] NAME [[--] CMD [ARG...]]",
		Short: "Be a pool of VMs until interrupted",
		Long: `Keep VMs ready for 'holt pool exec', until Ctrl-C or 'holt pool stop'. They end with this
command, and what they have written with them.

With --snapshot they go on from the snapshot. Directories that were shared with the
saved VM are shared with all of them: -v HOST:GUEST puts another in the place of one,
and --disk NAME=FILE[:ro] another disk. Of the other
flags only --min, --max, --idle-timeout and --reuse can be given then.

Without --snapshot a VM is booted once, with CMD, as 'holt run' would with the same
flags; the VMs are copies of it from when CMD began to run. CMD must go on, as sleep
infinity does: each VM ends with its own copy of CMD.

At least --min VMs are kept idle, and at most --max exist. VMs publish no ports. Each
has a host name, an identity and random numbers of its own.`,
		Example: `  holt pool start py --snapshot warm --min 4 --max 16 --idle-timeout 5m
  holt pool start sh -- sleep infinity
  holt pool start db -m 1G --rootfs ./debian --overlay --min 2 -- ./server
  holt pool exec py -- python3 job.py             in another terminal`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, words, err := poolWords(cmd, args)
			if err != nil {
				return err
			}
			config, err := f.config(cmd.Flags(), words)
			if err != nil {
				return err
			}
			return untilInterrupted(cmd, func(ctx context.Context) error { return servePool(ctx, name, config) })
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.run.snapshot, "snapshot", "", "make VMs that go on from the snapshot `NAME`")
	fl.IntVar(&f.min, "min", 1, "keep `N` VMs ready")
	fl.IntVar(&f.max, "max", 0, "have no more than `N` VMs at once, those in use included (default four times --min, at least 4)")
	fl.DurationVar(&f.idleTimeout, "idle-timeout", 0, "end VMs above --min that nobody used for `DURATION` (such as 5m; default never)")
	fl.BoolVar(&f.reuse, "reuse", false, "give a VM to the next command when one has ended, with all that was left in it")
	f.run.add(fl)
	for _, name := range notForPools {
		fl.Lookup(name).Hidden = true
	}
	return cmd
}

// config is what the flags say of the pool. words are the program that the VMs run.
func (f *poolStartFlags) config(given *pflag.FlagSet, words []string) (holt.PoolConfig, error) {
	c := holt.PoolConfig{Min: f.min, Max: f.max, IdleTimeout: f.idleTimeout, Reuse: f.reuse, Options: []holt.Option{withSelf()}}
	saved := given.Changed("snapshot")
	errs := []error{refusePoolFlags(given, saved), f.checkBounds(given)}
	switch {
	case saved && len(words) > 0:
		errs = append(errs, errors.New("the program of a snapshot goes on: leave CMD out, or --snapshot"))
	case saved:
		c.From = holt.PoolSnapshot(f.run.snapshot)
		c.Options = append(c.Options, holt.Prefetch())
		errs = append(errs, appendParsed(&c.Options, f.run.volumes, replaceDir), appendParsed(&c.Options, f.run.disks, replaceDisk))
	case len(words) == 0 && !given.Changed("config"):
		errs = append(errs, errors.New("say what the VMs are copies of: --snapshot NAME or, after the pool's name, a program such as sleep infinity"))
	default:
		cfg, err := f.run.config(given, words)
		c.From = holt.PoolConfigured(cfg)
		c.Options = append(c.Options, holt.WithBackend(f.run.backend))
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// checkBounds says which number cannot be.
func (f *poolStartFlags) checkBounds(given *pflag.FlagSet) error {
	var errs []error
	if f.min < 0 {
		errs = append(errs, fmt.Errorf("--min %d: must not be negative", f.min))
	}
	if given.Changed("max") && f.max < max(f.min, 1) {
		errs = append(errs, fmt.Errorf("--max %d: must be --min (%d) or more, and at least 1", f.max, f.min))
	}
	if f.idleTimeout < 0 {
		errs = append(errs, fmt.Errorf("--idle-timeout %v: must not be negative", f.idleTimeout))
	}
	return errors.Join(errs...)
}

// refusePoolFlags says which of the flags that were given have no meaning.
func refusePoolFlags(given *pflag.FlagSet, saved bool) error {
	var errs []error
	given.Visit(func(flag *pflag.Flag) {
		switch {
		case slices.Contains(notForPools, flag.Name):
			errs = append(errs, fmt.Errorf("--%s is for one VM, and a pool has many", flag.Name))
		case saved && !slices.Contains(poolFlags, flag.Name):
			errs = append(errs, fmt.Errorf("--%s has no meaning with --snapshot: the VMs go on as the one that was saved", flag.Name))
		}
	})
	return errors.Join(errs...)
}

// servePool is a pool until ctx ends, or somebody stops it.
func servePool(ctx context.Context, name string, config holt.PoolConfig) error {
	listener, err := holt.ListenPool(ctx, name) // before a boot that would be for nothing
	if err != nil {
		return err
	}
	done := progress("starting the pool's VMs…")
	pool, err := holt.NewPool(ctx, config)
	if err != nil {
		done()
		listener.Close()
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- pool.Serve(ctx, listener) }()
	err = pool.Warm(ctx)
	done()
	switch {
	case err == nil:
		s := pool.Stats()
		fmt.Fprintf(os.Stderr, "holt: pool %s is ready: %s; `holt pool exec %[1]s CMD` uses one\n", name, countVMs(s.Idle))
	case !errors.Is(err, holt.ErrPoolClosed): // else somebody has stopped it
		stop()
		return errors.Join(err, <-served)
	}
	return <-served
}

func countVMs(n int) string {
	if n == 1 {
		return "1 VM"
	}
	return fmt.Sprintf("%d VMs", n)
}
