package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holtvm/holt"
)

type statsFlags struct {
	noStream, asJSON bool
	interval         time.Duration
}

func newStats() *cobra.Command {
	f := &statsFlags{}
	cmd := &cobra.Command{
		Use:   "stats [flags] [VM...]",
		Short: "Show what running VMs take",
		Long: `Show processor time, memory, network, disk and VM exits of VMs, all running ones by
default, again and again until interrupted.

  CPU %          of one host processor, over the interval; the monitor's share included
  HOST MEM       what the VM really holds of the host's memory, of what its guest may have
  GUEST USED     what the guest says that its programs use
  NET I/O        bytes that the guest received and sent
  DISK I/O       bytes that the guest read from and wrote to its disks
  EXITS/S        exits of its processors, as far as KVM counts them; "-" under emulation
  PIDS           processes in the guest

With --json there is more: an object per VM and line, all counters since the VM's
start.`,
		Example: `  holt stats
  holt stats --no-stream web db
  holt stats --json --no-stream | jq .host_memory_bytes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.interval < 100*time.Millisecond {
				return fmt.Errorf("--interval %v: must be 100ms or more", f.interval)
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), args)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.noStream, "no-stream", false, "print once, after one interval, and exit")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON")
	fl.DurationVar(&f.interval, "interval", time.Second, "time between two looks: a `DURATION` such as 500ms")
	return cmd
}

func (f *statsFlags) run(ctx context.Context, out io.Writer, names []string) error {
	vms, err := namedOrRunning(ctx, names)
	if err != nil {
		return err
	}
	screen := !f.noStream && !f.asJSON && isTerminal(out)
	var before map[string]holt.Stats // by id, of the look before
	for {
		// VMs may end between two looks.
		now, err := lookAtAll(ctx, vms, before != nil || len(names) == 0)
		if err != nil {
			return err
		}
		switch {
		case f.asJSON:
			err = printStatsJSON(out, now)
		case f.noStream && before == nil: // a share of the processors needs two looks
		default:
			if screen {
				fmt.Fprint(out, "\x1b[H\x1b[J") // to the top of an empty screen
			}
			err = printStats(out, before, now)
		}
		ended := len(names) > 0 && len(now) == 0
		if err != nil || ended || f.noStream && (f.asJSON || before != nil) {
			return err
		}
		before = make(map[string]holt.Stats, len(now))
		for _, s := range now {
			before[s.ID] = s
		}
		select {
		case <-time.After(f.interval):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if len(names) == 0 {
			if vms, err = namedOrRunning(ctx, nil); err != nil {
				return err
			}
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// lookAtAll asks VMs, all at once. Those that are not running are left out, or, unless
// some may have ended, an error.
func lookAtAll(ctx context.Context, vms []*holt.VM, someEnded bool) ([]holt.Stats, error) {
	all, errs := make([]holt.Stats, len(vms)), make([]error, len(vms))
	var wg sync.WaitGroup
	for i, vm := range vms {
		wg.Go(func() { all[i], errs[i] = vm.Stats(ctx) })
	}
	wg.Wait()
	var found []holt.Stats
	for i, err := range errs {
		switch {
		case err == nil:
			found = append(found, all[i])
		case !someEnded || !errors.Is(err, holt.ErrNotRunning):
			return nil, err
		}
	}
	return found, nil
}

// namedOrRunning opens VMs: those with the names or, without any, all that run.
func namedOrRunning(ctx context.Context, names []string) ([]*holt.VM, error) {
	named := len(names) > 0
	if !named {
		all, err := holt.List(ctx)
		if err != nil {
			return nil, err
		}
		for _, info := range all {
			if info.State != holt.StateCreated && info.State != holt.StateStopped {
				names = append(names, info.ID)
			}
		}
	}
	var vms []*holt.VM
	for _, name := range names {
		vm, err := holt.Open(ctx, name, holt.WithBinary("/proc/self/exe"))
		switch {
		case err == nil:
			vms = append(vms, vm)
		case named || !errors.Is(err, holt.ErrNotFound): // else it has just gone
			return nil, err
		}
	}
	return vms, nil
}

func printStatsJSON(out io.Writer, all []holt.Stats) error {
	e := json.NewEncoder(out)
	for _, s := range all {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return nil
}
