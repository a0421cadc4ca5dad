package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/agentproto"
)

// logsFlags are the flags of `holt logs`.
type logsFlags struct {
	holt.LogOptions

	timestamps, asJSON bool
}

func newLogs() *cobra.Command {
	f := &logsFlags{}
	cmd := &cobra.Command{
		Use:   "logs [flags] VM",
		Short: "Show what a VM printed",
		Long: `Show what the VM's main program printed, in all its runs: its standard output on
standard output, its standard error on standard error, byte for byte. With --console,
what the guest's kernel printed.

Each log keeps the last 8 MiB at least. A TIME is RFC 3339 or how long ago it was.`,
		Example: `  holt logs web
  holt logs -f --tail 20 web                      the last 20 lines, and what comes
  holt logs --since 10m -t web                    of the last 10 minutes, with times
  holt logs --since 2026-01-02T15:04:05Z --until 1h web
  holt logs --json web | jq -r 'select(.stream == "stderr").text'
  holt logs --console web                         why does it not boot?`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeVMs,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&f.Follow, "follow", "f", false, "wait for more, until the VM ends")
	fl.Var(momentFlag{&f.Since}, "since", "only lines from `TIME` on")
	fl.Var(momentFlag{&f.Until}, "until", "only lines before `TIME`")
	fl.IntVarP(&f.Tail, "tail", "n", -1, "only the last `N` lines of those that are there; -1 is all")
	fl.BoolVarP(&f.timestamps, "timestamps", "t", false, "show when each line was begun")
	fl.BoolVar(&f.Console, "console", false, "show the guest kernel's console")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON, a line for each: time, stream and text")
	return cmd
}

func (f *logsFlags) run(cmd *cobra.Command, name string) error {
	vm, err := openVM(cmd.Context(), name)
	if err != nil {
		return err
	}
	if now := time.Now(); f.Tail == 0 && f.Since.Before(now) {
		f.Since = now // nothing of what is there
	}
	// A terminal is for the program to command, not for what writes to the console.
	safe := f.Console && term.IsTerminal(int(os.Stdout.Fd()))
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	for line, err := range vm.Logs(cmd.Context(), f.LogOptions) {
		if err != nil {
			return err
		}
		to := out
		if line.Stream == holt.LogStderr && !f.asJSON {
			to = errOut
		}
		if safe {
			line.Text = agentproto.Printable(strings.ReplaceAll(line.Text, "\r\n", "\n"), len(line.Text))
		}
		if err := f.print(to, line); err != nil {
			return err
		}
	}
	return nil
}

// timeFormat is RFC 3339 in columns.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

func (f *logsFlags) print(w io.Writer, line holt.LogLine) error {
	if f.asJSON {
		return writeJSONLine(w, line)
	}
	if f.timestamps {
		line.Text = line.Time.Format(timeFormat) + " " + line.Text
	}
	_, err := io.WriteString(w, line.Text)
	return err
}

// writeJSONLine writes v as one line.
func writeJSONLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// momentFlag is a point in time: RFC 3339, or how long ago it was.
type momentFlag struct{ at *time.Time }

// Set implements pflag.Value.
func (t momentFlag) Set(text string) error {
	if ago, err := time.ParseDuration(text); err == nil {
		*t.at = time.Now().Add(-ago)
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("must be a time such as %s, or how long ago it was, such as 10m", time.Now().UTC().Format(time.RFC3339))
	}
	*t.at = at
	return nil
}

// String implements pflag.Value: there is no default.
func (momentFlag) String() string { return "" }

// Type implements pflag.Value.
func (momentFlag) Type() string { return "time" }
