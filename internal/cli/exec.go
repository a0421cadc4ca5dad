package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holtvm/holt"
)

// execFlags are the flags of `holt exec` and `holt shell`.
type execFlags struct {
	interactive, tty, detach bool
	env, rlimits             []string
	envFile, workdir, user   string
	detachKeys               string
	timeout                  time.Duration
}

func newExec() *cobra.Command {
	f := &execFlags{}
	cmd := &cobra.Command{
		Use:   "exec [flags] [--] VM CMD [ARG...]",
		Short: "Run a program in a VM that runs",
		Long: `Run CMD in a VM beside its main program, stream its output, and exit with its
status. Any number of them run at once. If this command goes away, CMD is killed.

Each is a session, with an id. With -d, or when you leave it with the detach keys in a
terminal (-it), the program goes on alone; the last 64 KiB of its output are kept,
and 'holt exec attach' connects to it again.

A VM that is called as a command below (attach, kill, ls) is named after '--', or by
its id.

Exit status: the program's own; 128+n if signal n ended it; 124 on --timeout;
125 if Holt itself failed; 126 if CMD cannot be executed; 127 if it is not found.`,
		Example: `  holt exec web ps
  holt exec -it web bash
  holt exec -u nobody -w /tmp -e LANG=C.UTF-8 web -- sh -c 'id; env'
  tar -c src | holt exec -i web tar -x -C /srv
  id=$(holt exec -d web make test); holt exec attach web $id
  holt exec -- ls date                  in the VM that is called ls`,
		Args:              nameAndProgram,
		ValidArgsFunction: completeOneVM,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "connect standard input")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the program a terminal")
	fl.BoolVarP(&f.detach, "detach", "d", false, "leave the program running, and print the id of its session")
	f.add(fl)
	fl.DurationVar(&f.timeout, "timeout", 0, "kill the program after `DURATION` (such as 90s)")
	fl.StringVar(&f.detachKeys, "detach-keys", defaultDetachKeys, detachKeysHelp)
	cmd.AddCommand(newExecLs(), newExecAttach(), newExecKill())
	return cmd
}

// add adds the flags that shells have, too.
func (f *execFlags) add(fl *pflag.FlagSet) {
	fl.SetInterspersed(false) // what follows VM is CMD's
	fl.SortFlags = false
	fl.StringArrayVarP(&f.env, "env", "e", nil, "set `KEY=VALUE`, or take KEY from the host (repeatable)")
	fl.StringVar(&f.envFile, "env-file", "", "read environment variables from `FILE`, a KEY=VALUE or KEY per line")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "working directory in the guest")
	fl.StringVarP(&f.user, "user", "u", "", "run as `USER[:GROUP]` of the guest, names or numbers (default root)")
	fl.StringArrayVar(&f.rlimits, "rlimit", nil, "resource limit `NAME=SOFT[:HARD]`, such as RLIMIT_NOFILE=1024 (repeatable)")
}

func nameAndProgram(cmd *cobra.Command, args []string) error {
	if len(args) < 2 || len(args) == 2 && args[1] == "--" {
		return fmt.Errorf("name a VM and a program, as in `holt exec web ps`\nsee `%s --help`", cmd.CommandPath())
	}
	return nil
}

// completeOneVM offers the names of VMs for the first argument.
func completeOneVM(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return completeVMs(cmd, args, text)
}

func (f *execFlags) run(cmd *cobra.Command, args []string) error {
	name, words := args[0], args[1:]
	if words[0] == "--" {
		words = words[1:]
	}
	c, err := f.command()
	if err != nil {
		return err
	}
	c.Path, c.Args = words[0], words[1:]
	vm, err := openVM(cmd.Context(), name)
	if err != nil {
		return err
	}
	if f.detach {
		return f.start(cmd, vm, c)
	}
	return f.converse(cmd.Context(), vm, c)
}

// command is what the flags say of the program.
func (f *execFlags) command() (holt.Command, error) {
	c := holt.Command{Dir: f.workdir, User: f.user, Timeout: f.timeout}
	env, err := (&runFlags{env: f.env, envFile: f.envFile}).environment()
	for _, pair := range env {
		c.Env = append(c.Env, pair.String())
	}
	if f.timeout < 0 {
		err = errors.Join(err, fmt.Errorf("--timeout %v: must not be negative", f.timeout))
	}
	return c, errors.Join(err, appendParsed(&c.Rlimits, f.rlimits, holt.ParseRlimit))
}

// start is `holt exec -d`.
func (f *execFlags) start(cmd *cobra.Command, vm *holt.VM, c holt.Command) error {
	e, err := f.startDetached(cmd.Context(), vm, c)
	if err != nil {
		return &exitError{holt.ExitStatus(err), err}
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), e.Session())
	return err
}

// startDetached starts the program as a session without a connection.
func (f *execFlags) startDetached(ctx context.Context, vm *holt.VM, c holt.Command) (*holt.Cmd, error) {
	c.Detached, c.OpenStdin = true, f.interactive
	if f.tty {
		c = withTerminal(c, &terminal{out: os.Stdout})
	}
	e := vm.Exec(ctx, c)
	return e, e.Start()
}

// withTerminal gives a command a terminal such as this one.
func withTerminal(c holt.Command, term *terminal) holt.Command {
	c.Terminal = term.size()
	if kind := os.Getenv("TERM"); kind != "" {
		c.Env = slices.Insert(c.Env, 0, "TERM="+kind) // the user's own word wins
	}
	return c
}

// converse runs the program with this process's streams.
func (f *execFlags) converse(ctx context.Context, vm *holt.VM, c holt.Command) error {
	return f.converseAfter(ctx, vm, c, func(context.Context) error { return nil })
}

// converseAfter is converse in a VM that ready makes run, with a context that ends with
// the first signal.
func (f *execFlags) converseAfter(ctx context.Context, vm *holt.VM, c holt.Command, ready func(context.Context) error) (err error) {
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	term := &terminal{}
	if f.tty {
		if term, err = openTerminal(f.interactive); err != nil {
			return err
		}
		c = withTerminal(c, term)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := vm.Exec(ctx, c)
	if f.interactive {
		if e.Stdin, err = standardInput(term, f.detachKeys, e.Detach); err != nil {
			return err
		}
	}
	start := func() error {
		if err := ready(ctx); err != nil {
			return err
		}
		return e.Start()
	}
	err = converse(ctx, cancel, e, term, lastResort{"killing it", syscall.SIGKILL}, start, e.Wait)
	if errors.Is(err, holt.ErrTimeout) {
		err = &exitError{holt.StatusTimeout, fmt.Errorf("the program was killed: --timeout %v is over", f.timeout)}
	}
	return left(vm, e, err)
}

// standardInput is this process's standard input. If that is the terminal, keys in it
// call detach.
func standardInput(term *terminal, keys string, detach func() error) (io.Reader, error) {
	parsed, err := parseDetachKeys(keys)
	if err != nil || len(parsed) == 0 || term.in == nil {
		return os.Stdin, err
	}
	return &detachReader{in: os.Stdin, keys: parsed, detach: func() { _ = detach() }}, nil // Wait tells
}

// left is how this process ends after the program of a session did, or was left.
func left(vm *holt.VM, e *holt.Cmd, err error) error {
	if errors.Is(err, holt.ErrDetached) {
		fmt.Fprintf(os.Stderr, "\nholt: the program goes on as session %s: `holt exec attach %s %[1]s` connects to it again\n", e.Session(), vm.Name())
		return nil
	}
	if _, ok := errors.AsType[*exitError](err); ok {
		return err
	}
	return attended(err)
}

// commandText is a command line of the guest.
func commandText(words []string) string {
	quotedWords := make([]string, len(words))
	for i, w := range words {
		quotedWords[i] = quoted(w)
	}
	return strings.Join(quotedWords, " ")
}
