package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt"
	"github.com/holtvm/holt/internal/outlog"
	"github.com/holtvm/holt/internal/state"
)

// createVM makes a VM that never runs, in Holt's directories of this test.
func createVM(t *testing.T, name string) holt.Info {
	t.Helper()
	cfg := holt.DefaultConfig()
	cfg.RootPath, cfg.ExecPath = t.TempDir(), "/bin/true"
	vm, err := holt.Create(t.Context(), cfg, holt.WithName(name), withSelf())
	if err != nil {
		t.Fatal(err)
	}
	info, err := vm.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// split runs holt and returns its standard output and error.
func split(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errOut strings.Builder
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errOut)
	if err := root.Execute(); err != nil {
		t.Fatalf("holt %v: %v", args, err)
	}
	return out.String(), errOut.String()
}

func TestLogs(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	info := createVM(t, "web")
	begun := time.Now().Add(-time.Hour).UTC()
	write := func(log string, s outlog.Stream, after time.Duration, text string) {
		t.Helper()
		w, err := outlog.Open(info.Directory, log, 0)
		if err == nil {
			err = w.Write(s, begun.Add(after), []byte(text))
			w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(state.OutputLog, outlog.Stdout, 0, "a\x1b[31m\xff\n")
	write(state.OutputLog, outlog.Stderr, time.Second, "b\n")
	write(state.OutputLog, outlog.Stdout, 50*time.Minute, "c")
	write(state.ConsoleLog, outlog.Console, 0, "Linux\r\n")
	tests := []struct{ args, out, err string }{
		{"web", "a\x1b[31m\xff\nc", "b\n"},
		{info.ID[:6], "a\x1b[31m\xff\nc", "b\n"},
		{"-f web", "a\x1b[31m\xff\nc", "b\n"},
		{"--tail 2 web", "c", "b\n"},
		{"-f -n 0 web", "", ""},
		{"--since 20m web", "c", ""},
		{"--until 20m --tail 1 web", "", "b\n"},
		{"--since " + begun.Add(-time.Second).Format(time.RFC3339) + " --until " + begun.Add(2*time.Second).Format(time.RFC3339) + " web", "a\x1b[31m\xff\n", "b\n"},
		{"-t --since 20m web", begun.Add(50*time.Minute).Local().Format("2006-01-02T15:04:05.000000Z07:00") + " c", ""},
		{"--console web", "Linux\r\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			out, errOut := split(t, append([]string{"logs"}, strings.Fields(tt.args)...)...)
			if out != tt.out || errOut != tt.err {
				t.Errorf("output %q and %q, want %q and %q", out, errOut, tt.out, tt.err)
			}
		})
	}
	out, errOut := split(t, "logs", "--json", "--tail", "2", "web")
	var lines []holt.LogLine
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var line holt.LogLine
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if len(lines) != 2 || errOut != "" || lines[0].Stream != "stderr" || lines[0].Text != "b\n" || !lines[1].Time.Equal(begun.Add(50*time.Minute)) {
		t.Errorf("%+v from %q, and %q", lines, out, errOut)
	}
}

func TestEvents(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	web := createVM(t, "web")
	createVM(t, "db")
	for _, args := range [][]string{{"rename", "web", "shop"}, {"rm", "db"}} {
		split(t, args...)
	}
	tests := []struct {
		args string
		want []string // the action and the name of each
	}{
		{"", []string{"create web", "create db", "rename shop", "remove db"}},
		{"--since 1h --until -1h", []string{"create web", "create db", "rename shop", "remove db"}},
		{"--until 1h -f", nil},
		{"--filter vm=db", []string{"create db", "remove db"}},
		{"--filter vm=" + web.ID[:8], []string{"create web", "rename shop"}},
		{"--filter action=create --filter action=remove", []string{"create web", "create db", "remove db"}},
		{"--filter vm=db --filter action=create", []string{"create db"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			args := append([]string{"events"}, strings.Fields(tt.args)...)
			text, _ := split(t, args...)
			events, _ := split(t, append(args, "--json")...)
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if text == "" {
				lines = nil
			}
			d := json.NewDecoder(strings.NewReader(events))
			for i, want := range tt.want {
				action, name, _ := strings.Cut(want, " ")
				var e holt.Event
				if err := d.Decode(&e); err != nil || e.Action != action || e.Name != name {
					t.Errorf("event %+v, error %v, want %s", e, err, want)
				}
				if i >= len(lines) || !strings.Contains(lines[i], " "+action+" ") || !strings.Contains(lines[i], e.ID+" "+name) {
					t.Errorf("%s is not line %d of\n%s", want, i, text)
				}
			}
			if d.More() || len(lines) != len(tt.want) {
				t.Errorf("more than %q in\n%s", tt.want, events)
			}
		})
	}
}

func TestPrintEvent(t *testing.T) {
	e := holt.Event{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6_000, time.Local), Action: "exec-end", ID: "0123456789ab",
		Attributes: map[string]string{"exit_status": "3", "command": "sh -c \x1b", "empty": "", "word": "Grüße"},
	}
	var b strings.Builder
	if err := (&eventsFlags{}).print(&b, e); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), " ")
	if want := `exec-end 0123456789ab command="sh -c \x1b" empty="" exit_status=3 word=Grüße` + "\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLogsAndEventsMistakes(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	for _, tt := range []struct{ args, want string }{
		{"logs", "arguments, 0: usage: holt logs"},
		{"logs nobody", "nobody"},
		{"logs --since yesterday x", "such as 10m"},
		{"events --until yesterday", "such as 10m"},
		{"events --filter colour=red", "must be vm=VM"},
		{"events --filter vm=", "must be vm=VM"},
	} {
		if _, err := execute(strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.args, err, tt.want)
		}
	}
}
