package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holtvm/holt"
)

// eventsFlags are the flags of `holt events`.
type eventsFlags struct {
	holt.EventOptions

	filters eventFilter
	asJSON  bool
}

func newEvents() *cobra.Command {
	f := &eventsFlags{filters: eventFilter{}}
	cmd := &cobra.Command{
		Use:   "events [flags]",
		Short: "Show what happened to VMs",
		Long: `Show what happened to your VMs, whoever did it: create, start, pause, resume, stop
(somebody asked for the end), kill (or sent a signal), die (the VM ended), exec,
exec-end, rename, remove and copy.

The last 4 MiB of events at least are kept. A TIME is RFC 3339 or how long ago it
was. Filters of the same kind add to each other.`,
		Example: `  holt events --since 1h
  holt events -f --filter vm=web --filter vm=db
  holt events --filter action=die --json | jq .attributes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVarP(&f.Follow, "follow", "f", false, "wait for more")
	fl.Var(momentFlag{&f.Since}, "since", "only events from `TIME` on")
	fl.Var(momentFlag{&f.Until}, "until", "only events before `TIME`")
	fl.Var(f.filters, "filter", "only events of `vm=VM` (a name or the begin of an id) or action=ACTION (repeatable)")
	fl.BoolVar(&f.asJSON, "json", false, "print JSON, a line for each")
	return cmd
}

func (f *eventsFlags) run(cmd *cobra.Command) error {
	for e, err := range holt.Events(cmd.Context(), f.EventOptions) {
		if err != nil {
			return err
		}
		if !f.filters.pass(e) {
			continue
		}
		if err := f.print(cmd.OutOrStdout(), e); err != nil {
			return err
		}
	}
	return nil
}

func (f *eventsFlags) print(w io.Writer, e holt.Event) error {
	if f.asJSON {
		return writeJSONLine(w, e)
	}
	line := fmt.Appendf(nil, "%s %-8s %s", e.Time.Local().Format(timeFormat), e.Action, e.ID)
	if e.Name != "" {
		line = append(line, " "+e.Name...)
	}
	for _, k := range slices.Sorted(maps.Keys(e.Attributes)) {
		line = fmt.Appendf(line, " %s=%s", k, quoted(e.Attributes[k]))
	}
	_, err := w.Write(append(line, '\n'))
	return err
}

// quoted quotes text that is not one plain word.
func quoted(text string) string {
	quoted := strconv.Quote(text)
	if text == "" || len(quoted) != len(text)+2 || strings.Contains(text, " ") {
		return quoted
	}
	return text
}

// eventFilter has the values of each kind of filter.
type eventFilter map[string][]string

// pass reports whether an event is wanted.
func (f eventFilter) pass(e holt.Event) bool {
	return f.allow("action", func(v string) bool { return v == e.Action }) &&
		f.allow("vm", func(v string) bool { return v == e.Name || len(v) >= 4 && strings.HasPrefix(e.ID, v) })
}

// allow reports whether there is no filter of a kind, or one that matches.
func (f eventFilter) allow(kind string, matches func(string) bool) bool {
	return f[kind] == nil || slices.ContainsFunc(f[kind], matches)
}

// Set implements pflag.Value.
func (f eventFilter) Set(text string) error {
	kind, value, _ := strings.Cut(text, "=")
	if value == "" || kind != "vm" && kind != "action" {
		return errors.New("must be vm=VM or action=ACTION")
	}
	f[kind] = append(f[kind], value)
	return nil
}

// String implements pflag.Value: there is no default.
func (eventFilter) String() string { return "" }

// Type implements pflag.Value.
func (eventFilter) Type() string { return "filter" }
