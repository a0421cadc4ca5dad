// Package cli is the holt command: it parses flags, calls the holt package, and
// prints. It has no logic of its own about virtual machines.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

// exitError carries an exit status through cobra. err is printed unless nil.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Execute runs holt with the arguments after its name and returns its exit
// status. Errors of Holt's own, bad flags among them, are 125.
func Execute(args []string) int {
	err := dispatch(args)
	if err == nil {
		return 0
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{holt.StatusHoltFailed, err}
	}
	if exit.err != nil {
		printError(os.Stderr, exit.err)
	}
	return exit.status
}

func dispatch(args []string) error {
	if len(args) == 1 && args[0] == monitorCommand {
		// There is one for each VM: it does without all the other commands.
		return runMonitor()
	}
	root := newRoot()
	root.SetArgs(args)
	return root.Execute()
}

// printError prints each line of an error as holt's own, so that a list of
// problems reads as one.
func printError(w io.Writer, err error) {
	for i, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		prefix := "holt: "
		if i > 0 && strings.HasPrefix(line, " ") {
			prefix = ""
		}
		fmt.Fprintln(w, prefix+line)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "holt",
		Short: "Run programs in microVMs",
		Long: `Holt runs a program in a virtual machine of its own: it boots a small Linux
guest around it, streams its output, and returns its exit status.

  holt setup                          get a kernel and a small root, once
  holt run -- uname -a                run a program in the small root
  holt run --rootfs DIR -- make test  run one in a root directory of yours
  holt run -d --name web -- CMD       leave one running; see holt ps, exec, cp, logs, stop, rm
  holt snapshot create web warm       save it as it is; see holt restore, fork, run --snapshot
  holt doctor                         see what this host can do`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nsee `%s --help`", err, cmd.CommandPath())
	})
	for _, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"VMs and their lives", []*cobra.Command{newRun(), newCreate(), newStart(), newStop(), newRestart(), newKill(),
			newPause(), newResume(), newWait(), newRename(), newRemove(), newPrune()}},
		{"Saved VMs and copies", []*cobra.Command{newSnapshot(), newRestore(), newFork(), newPool()}},
		{"Programs in a VM", []*cobra.Command{newExec(), newShell(), newAttach(), newTop()}},
		{"Files of a VM", []*cobra.Command{newCp(), newLs(), newCat(), newWrite(), newStat(), newMkdir(), newMv(), newRmFile(), newWatch()}},
		{"Looking at VMs", []*cobra.Command{newPS(), newInspect(), newLogs(), newStats(), newMetrics(), newEvents()}},
		{"This host", []*cobra.Command{newSetup(), newDoctor(), newKernel(), newVersion()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, c := range g.commands {
			c.GroupID = g.title
		}
		root.AddCommand(g.commands...)
	}
	root.AddCommand(newMonitor())
	explainArguments(root)
	return root
}

// explainArguments makes commands with too many or too few arguments say which they take.
func explainArguments(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		explainArguments(c)
	}
	fits := cmd.Args
	if fits == nil || cmd.HasSubCommands() {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if fits(cmd, args) == nil {
			return nil
		}
		return fmt.Errorf("a wrong number of arguments, %d: usage: %s\nsee `%s --help`", len(args), cmd.UseLine(), cmd.CommandPath())
	}
}
