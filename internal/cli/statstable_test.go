package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt"
)

func TestStatsTable(t *testing.T) {
	at := time.Unix(1000, 0)
	was := holt.Stats{ID: "0123456789ab", Time: at, Uptime: time.Second, CPUTime: time.Second, KernelExits: 100}
	now := holt.Stats{
		ID: "0123456789ab", Name: "web", State: holt.StateRunning, Time: at.Add(2 * time.Second), Uptime: 3 * time.Second,
		CPUTime: 2 * time.Second, MonitorCPUTime: 500 * time.Millisecond,
		MemoryLimit: 512 << 20, HostMemory: 100 << 20,
		Guest:       &holt.GuestStats{MemoryTotal: 500 << 20, MemoryAvailable: 400 << 20, Processes: 7},
		Network:     &holt.NetworkStats{RxBytes: 2048, TxBytes: 10},
		Disks:       []holt.DiskStats{{ReadBytes: 1 << 20}, {ReadBytes: 1 << 20, WrittenBytes: 512}},
		KernelExits: 300,
	}
	fresh := holt.Stats{ID: "ba9876543210", State: holt.StatePaused, Time: now.Time, MemoryLimit: 64 << 20}
	var out bytes.Buffer
	if err := printStats(&out, map[string]holt.Stats{was.ID: was}, []holt.Stats{now, fresh}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{
		"NAME STATE CPU % HOST MEM / LIMIT GUEST USED NET I/O DISK I/O EXITS/S PIDS",
		"web running 75.0 100.0MiB / 512.0MiB 100.0MiB 2.0KiB / 10B 2.0MiB / 512B 100 7",
		"ba9876543210 paused - 0B / 64.0MiB - - - - -",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d: %q, want %q", i, got, want)
		}
	}
	restarted := now
	restarted.Uptime, restarted.CPUTime = 0, 0
	if cpu, exits := rates(was, restarted); cpu != "-" || exits != "-" {
		t.Errorf("of a VM that was started anew: %s, %s", cpu, exits)
	}
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0B", 1023: "1023B", 1024: "1.0KiB", 1<<20 - 1: "1.0MiB", 1536 << 20: "1.5GiB", 1<<64 - 1: "16.0EiB",
	} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestStatsOfNobody(t *testing.T) {
	t.Setenv("HOLT_HOME", t.TempDir())
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"stats", "--no-stream", "--interval", "100ms"}, "NAME"},
		{[]string{"stats", "--no-stream", "--json"}, ""},
		{[]string{"metrics"}, ""},
	} {
		if out, err := execute(c.args...); err != nil || !strings.HasPrefix(out, c.want) || c.want == "" && out != "" {
			t.Errorf("%v: %q, %v", c.args, out, err)
		}
	}
	for _, args := range [][]string{{"stats", "nobody"}, {"metrics", "nobody"}, {"stats", "--interval", "1ms"}} {
		if _, err := execute(args...); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
