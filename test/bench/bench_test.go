package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain also is what a benchmark starts of its own program.
func TestMain(m *testing.M) {
	part(context.Background(), os.Args[1:])
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		if got := median(c.list); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.list, got, c.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		p    int
		list []float64
		want float64
	}{
		{99, []float64{3}, 3},
		{99, []float64{9, 1, 5}, 9},
		{99, hundred, 99},
		{99, append([]float64{1000}, hundred...), 100},
		{50, hundred, 50},
		{0, hundred, 1},
	} {
		if got := percentile(c.p, c.list); got != c.want {
			t.Errorf("percentile(%d, %d elements) = %v, want %v", c.p, len(c.list), got, c.want)
		}
	}
	r := compareTails("exec-p99", "ms", "<= 1.0", "ssh", hundred, []float64{198})
	if r.Ours != 99 || r.Ratio != 0.5 || r.Runs != 100 {
		t.Errorf("%+v: not 99 ms beside 198 in 100 runs", r)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		ratio float64
		goal  string
		want  string
	}{
		{1.15, "<= 1.15", "met"},
		{1.16, "<= 1.15", "missed"},
		{1, ">= 1.0", "met"},
		{0.99, ">= 1.0", "missed"},
		{5, noGoal, ""},
	} {
		if got := (result{Ratio: c.ratio, Goal: c.goal}).verdict(); got != c.want {
			t.Errorf("a ratio of %v with goal %q: %q, want %q", c.ratio, c.goal, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	results := []result{compare("start", "ms", "<= 1.15", "plain qemu", []float64{30, 10, 20}, []float64{10, 10, 10})}
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := writeJSON(path, results); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"name": "start", "unit": "ms", "ours": 20.0, "peer": 10.0, "peer_name": "plain qemu",
		"ratio": 2.0, "goal": "<= 1.15", "runs": 3.0,
	}
	if len(got) != 1 || len(got[0]) != len(want) {
		t.Fatalf("got %v, want one of %v", got, want)
	}
	for key, value := range want {
		if got[0][key] != value {
			t.Errorf("%s is %v, want %v", key, got[0][key], value)
		}
	}
	var table bytes.Buffer
	printTable(&table, results)
	if !strings.Contains(table.String(), "missed") {
		t.Errorf("a missed goal is not told:\n%s", table.String())
	}
}

func TestMemoryWithoutTheGuests(t *testing.T) {
	const smaps = `00400000-00e00000 r-xp 00000000 fe:00 1234        /usr/bin/qemu
Size:              10240 kB
Rss:                2048 kB
Pss:                1024 kB
Pss_Dirty:             8 kB
VmFlags: rd ex mr mw me
7f0000000000-7f0010000000 rw-s 00000000 00:01 55   /memfd:memory-backend-memfd (deleted)
Size:             262144 kB
Rss:              200000 kB
Pss:              200000 kB
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0    [stack]
Size:                132 kB
Rss:                 512 kB
Pss:                 512 kB
7f1000000000-7f1000001000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                 512 kB
Pss:                 512 kB
`
	for _, c := range []struct {
		guest uint64
		want  memoryUse
	}{
		{0, memoryUse{rss: 3, pss: 2}},
		{8 << 20, memoryUse{rss: 2.5, pss: 1.5}},
		{9 << 20, memoryUse{rss: 3, pss: 2}},
	} {
		if got, err := sumMappings(strings.NewReader(smaps), c.guest); err != nil || got != c.want {
			t.Errorf("beside a guest of %d bytes: got %v, %v; want %v", c.guest, got, err, c.want)
		}
	}
	if _, err := sumMappings(strings.NewReader(""), 0); err == nil {
		t.Error("a process without memory is no error")
	}
}

func TestStopwatch(t *testing.T) {
	var got []measured
	var used usage
	w := stopwatch{
		done: func(m measured) { got = append(got, m) },
		used: func() (usage, error) {
			used.guest += 500 * time.Millisecond
			used.device += 250 * time.Millisecond
			return used, nil
		},
	}
	start := time.Unix(1000, 0)
	for i, line := range []string{"[    0.1] kernel", "[    0.2] x bench: begin read", "bench: end read 12.5"} {
		if err := w.line(line, start.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 1 || got[0] != (measured{"read", 12.5, time.Second, usage{500 * time.Millisecond, 250 * time.Millisecond}}) || w.finished != 1 {
		t.Errorf("got %v, %d finished", got, w.finished)
	}
	if w.console != "[    0.1] kernel\n" {
		t.Errorf("console: %q", w.console)
	}
	if err := w.line("bench: failed: no disk", start); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("a failure in the guest gives %v", err)
	}
}
