package agent

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/agentclient"
	"github.com/holtvm/holt/internal/agentproto"
)

// TestProcesses asks the agent for the processes of this machine.
func TestProcesses(t *testing.T) {
	g := newGuest(t)
	var out syncBuffer
	s := g.exec(sh("sleep 1000 & echo ready; wait; # a  b"), agentclient.Output{Stdout: &out})
	out.await(t, "ready")
	list, err := agentclient.Processes(g.ctx, g.dial())
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range list {
		switch {
		case p.PID == s.PID:
			found++
			if p.PPID != os.Getpid() || p.User != me.Username || p.State != "S" || p.RSSBytes < 4096 ||
				p.Command != "/bin/sh -c sleep 1000 & echo ready; wait; # a  b" {
				t.Errorf("%+v", p)
			}
			if started := g.sessions()[0].StartedNS; p.StartedNS < started-1e9 || p.StartedNS > started+1e9 {
				t.Errorf("started at %d, not %d", p.StartedNS, started)
			}
		case p.PPID == s.PID:
			found++
		case p.PID == 2 || p.PPID == 2 && p.Command == "[kthreadd]":
			t.Errorf("a kernel thread: %+v", p)
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 processes in %+v", found, list)
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 4242 1000000 300 18446744073709551615"
	s, ok := parseStat("12 (a) (b c)" + rest)
	want := procStat{pid: 12, ppid: 7, name: "a) (b c", state: "S", flags: 4194560, ticks: 175, startTicks: 4242, pages: 300}
	if !ok || s != want {
		t.Errorf("%+v, %v", s, ok)
	}
	for _, bad := range []string{"", "12", "12 (a", "12 (a) S", "x (a)" + rest, "12 (a) S 7 1 1 0 x" + rest} {
		if s, ok := parseStat(bad); ok {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a) (b c) S 7 1 1 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 1 0 4242 1000000 300")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := parseStat(line); ok && (s.state == "" || !strings.Contains(line, s.name)) {
			t.Fatalf("%+v", s)
		}
	})
}

// fakeProc is a procfs with one process and one kernel thread.
func fakeProc(t *testing.T) string {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"stat":    "cpu  100 20 30 4000 50 6 7 800 9 9\ncpu0 1 1 1 1 1 1 1\n",
		"loadavg": "1.25 0.50 0.10 1/80 4711\n",
		"meminfo": "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable: 600 kB\nCached: 50 kB\nSwapTotal: 8 kB\nSwapFree: 7 kB\nHugePages_Total: 0\n",
		"vmstat":  "nr_free_pages 12\noom_kill 3\n",
		"1/stat":  "1 (init) S 0 1 1 0 -1 4194560 0 0 0 0 5 5 0 0 20 0 1 0 1 1000 10",
		"2/stat":  "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0",
		"3/other": "a process that ends just now",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStats(t *testing.T) {
	proc := fakeProc(t)
	s, err := (&agent{}).stats(proc)
	if err != nil {
		t.Fatal(err)
	}
	if s.UptimeMS <= 0 || s.RootTotal <= 0 || s.RootFree <= 0 || s.RootFree > s.RootTotal {
		t.Errorf("%+v", s)
	}
	s.UptimeMS, s.RootTotal, s.RootFree = 0, 0, 0
	want := agentproto.GuestStats{
		CPUMS: 1630, IdleMS: 40500, Load1: 1.25, Processes: 1, OOMKills: 3,
		MemTotal: 1000 << 10, MemFree: 100 << 10, MemAvailable: 600 << 10, Cached: 50 << 10, SwapTotal: 8 << 10, SwapFree: 7 << 10,
	}
	if s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	list, err := processes(proc)
	if err != nil || len(list) != 1 || list[0].Command != "[init]" || list[0].CPUMS != 100 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, missing := range []string{"vmstat", "stat"} {
		if err := os.Remove(filepath.Join(proc, missing)); err != nil {
			t.Fatal(err)
		}
		if _, err := (&agent{}).stats(proc); err == nil || !strings.Contains(err.Error(), "stat") {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	if _, err := processes(filepath.Join(proc, "none")); err == nil {
		t.Error("there are processes without a procfs")
	}
}

func TestStatsOverTheWire(t *testing.T) {
	g := newGuest(t)
	id, _ := g.detached(sh("exec sleep 1000"))
	s, err := agentclient.Stats(g.ctx, g.dial())
	if err != nil {
		t.Fatal(err)
	}
	if s.Sessions != 1 || s.Processes < 2 || s.MemTotal < 1<<20 || s.MemAvailable > s.MemTotal || s.CPUMS <= 0 {
		t.Errorf("%+v", s)
	}
	if err := agentclient.SignalSession(g.ctx, g.dial(), agentproto.SessionSignal{Session: id, Signal: 9}); err != nil {
		t.Fatal(err)
	}
	g.awaitSessions(func(list []agentproto.Session) bool { return !list[0].Running })
	if s, err = agentclient.Stats(g.ctx, g.dial()); err != nil || s.Sessions != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestOOMKill(t *testing.T) {
	for record, want := range map[string]bool{
		"3,1234,5000,-;Out of memory: Killed process 57 (a) total-vm:1kB, anon-rss:1kB\n":                 true,
		"3,1234,5000,-;Memory cgroup out of memory: Killed process 57 (b c) total-vm:1kB\n SUBSYSTEM=x\n": true,
		"3,1234,5000,-;Out of memory: Killed process 579 (a) total-vm:1kB\n":                              false,
		"12,1234,5000,-;Out of memory: Killed process 57 (a): a program wrote this\n":                     false,
		"6,1,0,-;Linux version 6.1\n": false,
		"":                            false,
	} {
		if got := isOOMKill(record, 57); got != want {
			t.Errorf("%q: %v", record, got)
		}
	}
	log := filepath.Join(t.TempDir(), "kmsg")
	if err := os.WriteFile(log, []byte("3,1,1,-;Out of memory: Killed process 57 (a) x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]bool{57: true, 58: false} {
		if got := killedForMemory(log, pid); got != want {
			t.Errorf("process %d: %v", pid, got)
		}
	}
	if killedForMemory(fmt.Sprint(log, "-none"), 57) {
		t.Error("a kernel without a log says something")
	}
}

func TestReadSmall(t *testing.T) {
	if b, err := readSmall("/dev/zero", 100); err != nil || len(b) != 100 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	fifo := filepath.Join(t.TempDir(), "stat")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := readSmall(fifo, 100); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}
