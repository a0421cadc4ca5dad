package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// runSnapshot is `holt run --snapshot`: what `holt restore` does, with the flags that
// both have.
func (f *runFlags) runSnapshot(cmd *cobra.Command, words []string) error {
	if err := refuseDecided(cmd.Flags()); err != nil {
		return err
	}
	r := restoreFlags{
		program: execFlags{
			interactive: f.interactive, tty: f.tty, detach: f.detach,
			env: f.env, envFile: f.envFile, workdir: f.workdir, rlimits: f.rlimits,
		},
		name: f.name, remove: f.remove, volumes: f.volumes, ports: f.ports, timeout: f.timeout,
	}
	return r.restore(cmd, f.snapshot, words)
}

// refuseDecided says which of the flags that were given were decided when the snapshot
// was taken.
func refuseDecided(given *pflag.FlagSet) error {
	open := []string{
		"snapshot", "name", "rm", "detach", "volume", "publish", "env", "env-file", "workdir", "rlimit",
		"interactive", "tty", "timeout",
	}
	var errs []error
	given.Visit(func(flag *pflag.Flag) {
		switch {
		case flag.Name == "disk":
			errs = append(errs, errors.New("--disk: the snapshot has disks of its own: 'holt restore --disk' replaces them"))
		case !slices.Contains(open, flag.Name):
			errs = append(errs, fmt.Errorf("--%s has no meaning with --snapshot: the VM goes on as the one that was saved", flag.Name))
		}
	})
	return errors.Join(errs...)
}
