package eventlog

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/holtvm/holt/internal/logfile"
)

const (
	// dirVariable makes the test binary a process that appends to a log.
	dirVariable = "HOLT_TEST_EVENT_DIR"
	processes   = 8
	each        = 1000
)

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	pad := map[string]string{"pad": strings.Repeat("x", 700)}
	for i := range each {
		if err := Append(dir, Event{Action: Exec, ID: strconv.Itoa(os.Getpid()), Name: strconv.Itoa(i), Attributes: pad}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func at(s int) time.Time { return time.Unix(int64(s), 0).UTC() }

// read returns the events' names.
func read(t *testing.T, dir string, o Options) string {
	t.Helper()
	got := ""
	if err := Read(t.Context(), dir, o, func(e Event) error { got += e.Name; return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

func add(t *testing.T, dir string, e Event) {
	t.Helper()
	if err := Append(dir, e); err != nil {
		t.Fatal(err)
	}
}

func TestAppendAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if got := read(t, dir, Options{}); got != "" {
		t.Errorf("read %q of no log", got)
	}
	want := []Event{
		{Time: at(1), Action: Create, ID: "1", Name: "a"},
		{Time: at(2), Action: Die, ID: "1", Name: "a\nb\"\x1b", Attributes: map[string]string{"exit_status": "3", "": "\n"}},
	}
	for _, e := range want {
		add(t, dir, e)
	}
	begun := time.Now()
	add(t, dir, Event{Action: Remove, ID: "1"})
	var got []Event
	if err := Read(t.Context(), dir, Options{}, func(e Event) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !slices.EqualFunc(got[:2], want, equal) || got[2].Time.Before(begun) {
		t.Errorf("read %+v", got)
	}
	enough := errors.New("enough")
	if err := Read(t.Context(), dir, Options{}, func(Event) error { return enough }); err != enough {
		t.Errorf("error %v", err)
	}
}

func equal(a, b Event) bool {
	return a.Time.Equal(b.Time) && a.Action == b.Action && a.ID == b.ID && a.Name == b.Name && maps.Equal(a.Attributes, b.Attributes)
}

func TestRange(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"a", "b", "c", "d"} {
		add(t, dir, Event{Time: at(i), Action: Start, Name: name})
	}
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, "abcd"},
		{Options{Since: at(2)}, "cd"},
		{Options{Until: at(2)}, "ab"},
		{Options{Since: at(1), Until: at(3)}, "bc"},
		{Options{Until: at(3), Follow: true}, "abc"},
	} {
		if got := read(t, dir, tt.o); got != tt.want {
			t.Errorf("%+v: read %q, want %q", tt.o, got, tt.want)
		}
	}
}

// TestTooLong: an event is never longer than it may be, and stays JSON.
func TestTooLong(t *testing.T) {
	dir := t.TempDir()
	long := map[string]string{
		"ascii":   strings.Repeat("x", 1<<20),
		"escapes": strings.Repeat("\x01", 5000),
		"runes":   strings.Repeat("é", 5000),
		"short":   "kept",
	}
	add(t, dir, Event{Action: Exec, Name: "a", Attributes: long})
	text, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil || len(text) > maxEvent || len(text) < maxEvent/4 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	err = Read(t.Context(), dir, Options{}, func(e Event) error {
		for k, v := range e.Attributes {
			if k == "short" && v == "kept" {
				continue
			}
			if head, ok := strings.CutSuffix(v, "…"); !ok || !strings.HasPrefix(long[k], head) || !utf8.ValidString(v) {
				t.Errorf("%s is %q", k, v)
			}
		}
		if len(e.Attributes) != len(long) {
			t.Errorf("attributes %v", e.Attributes)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := Append(dir, Event{Action: Exec, Name: strings.Repeat("x", maxEvent)}); err == nil || !strings.Contains(err.Error(), "4096") {
		t.Errorf("error %v", err)
	}
}

// TestDamage: what is no event is left out, and an event that was cut off takes no
// other one with it.
func TestDamage(t *testing.T) {
	event := func(name string) string {
		return `{"time":"2026-01-01T00:00:00Z","action":"die","name":"` + name + `"}`
	}
	tests := []struct{ name, text, want string }{
		{"cut off", event("a") + "\n" + event("b")[:30], "ae"},
		{"no newline", event("a"), "ae"},
		{"zeros", event("a") + "\n" + strings.Repeat("\x00", 10_000), "ae"},
		{"no JSON", "x\n\n[]\n" + event("b") + "\n", "be"},
		{"no action", "{}\n" + event("b") + "\n", "be"},
		{"a long line", strings.Repeat("x", 100_000) + "\n" + event("b") + "\n", "be"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, fileName), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			add(t, dir, Event{Action: Die, Name: "e"})
			if got := read(t, dir, Options{}); got != tt.want {
				t.Errorf("read %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		got := make(chan string)
		until := time.Now().Add(time.Minute)
		failed := make(chan error, 1)
		go func() {
			defer close(got)
			failed <- Read(t.Context(), dir, Options{Follow: true, Until: until}, func(e Event) error { got <- e.Name; return nil })
		}()
		time.Sleep(time.Second) // the log does not exist yet
		for _, name := range []string{"a", "b", "c"} {
			if name == "b" {
				path := filepath.Join(dir, fileName)
				if err := os.Rename(path, logfile.OldName(path)); err != nil {
					t.Fatal(err)
				}
			}
			add(t, dir, Event{Action: Start, Name: name})
			if text := <-got; text != name {
				t.Errorf("event %q, want %q", text, name)
			}
		}
		if _, more := <-got; more || time.Now().Before(until) {
			t.Error("the follower did not wait until its time was over")
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})
}

// TestProcesses: events of processes that append at once, over a rotation, are all
// there, once, and in each process's order, for who follows and who reads later.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	var commands []*exec.Cmd
	for range processes {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), dirVariable+"="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		commands = append(commands, cmd)
	}
	enough := errors.New("enough")
	seen := map[string]int{}
	total := 0
	count := func(e Event) error {
		if e.Name != strconv.Itoa(seen[e.ID]) {
			t.Errorf("event %s of process %s, want %d", e.Name, e.ID, seen[e.ID])
		}
		seen[e.ID]++
		if total++; total == processes*each {
			return enough
		}
		return nil
	}
	if err := Read(t.Context(), dir, Options{Follow: true, Until: time.Now().Add(time.Minute)}, count); err != enough {
		t.Errorf("error %v", err)
	}
	for _, cmd := range commands {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{fileName, logfile.OldName(fileName)} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 || info.Size() > maxFile {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	clear(seen)
	if total = 0; Read(t.Context(), dir, Options{}, count) != enough {
		t.Errorf("%d events, want %d", total, processes*each)
	}
}
