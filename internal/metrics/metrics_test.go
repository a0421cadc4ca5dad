package metrics_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/control"
	"github.com/holtvm/holt/internal/metrics"
)

// full is a VM with something of everything.
func full(name string) control.Stats {
	return control.Stats{
		ID: "0123456789ab", Name: name, State: "running",
		Uptime: 1500 * time.Millisecond, VCPUs: 2, CPUTime: 250 * time.Millisecond, MonitorCPUTime: 1,
		MemoryLimit: 512 << 20, HostMemory: 100 << 20, MonitorMemory: 9 << 20,
		Guest:   &control.Guest{CPUTime: 20 * time.Millisecond, Load1: 0.25, MemoryTotal: 500 << 20, Processes: 7, Sessions: 1},
		Network: &control.Network{RxBytes: 1 << 50, Denied: map[string]uint64{"policy": 3, `a "reason"`: 1}},
		Disks:   []control.Disk{{Name: "root", Reads: 4}, {Name: "disk0", WrittenBytes: 512}},
		Shares:  []control.Share{{Path: "/data", Requests: 5}},
		Exits:   map[string]uint64{"io": 10, "mmio": 20}, KernelExits: 99, KernelExitsByKind: map[string]uint64{"halt": 7},
	}
}

func write(t *testing.T, all ...control.Stats) string {
	t.Helper()
	var out bytes.Buffer
	if err := metrics.Write(&out, all); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestValues(t *testing.T) {
	text := write(t, full("web"))
	for _, line := range []string{
		`holt_vm_info{vm="web",id="0123456789ab",state="running"} 1`,
		`holt_vm_uptime_seconds{vm="web",id="0123456789ab"} 1.5`,
		`holt_vm_cpu_seconds_total{vm="web",id="0123456789ab"} 0.25`,
		`holt_vm_memory_limit_bytes{vm="web",id="0123456789ab"} 536870912`,
		`holt_vm_guest_up{vm="web",id="0123456789ab"} 1`,
		`holt_vm_guest_cpu_seconds_total{vm="web",id="0123456789ab"} 0.02`,
		`holt_vm_guest_load1{vm="web",id="0123456789ab"} 0.25`,
		`holt_vm_network_receive_bytes_total{vm="web",id="0123456789ab"} 1125899906842624`,
		`holt_vm_network_denied_total{vm="web",id="0123456789ab",reason="a \"reason\""} 1`,
		`holt_vm_disk_reads_total{vm="web",id="0123456789ab",disk="root"} 4`,
		`holt_vm_disk_written_bytes_total{vm="web",id="0123456789ab",disk="disk0"} 512`,
		`holt_vm_share_requests_total{vm="web",id="0123456789ab",path="/data"} 5`,
		`holt_vm_exits_total{vm="web",id="0123456789ab",kind="mmio"} 20`,
		`holt_vm_kernel_exits_total{vm="web",id="0123456789ab"} 99`,
		"# TYPE holt_vm_kernel_exits_total counter",
		"# TYPE holt_vm_host_memory_bytes gauge",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
}

// TestWhatIsNotThere: a guest that does not answer has no figures, and says so.
func TestWhatIsNotThere(t *testing.T) {
	text := write(t, control.Stats{ID: "0123456789ab", State: "paused"})
	for _, absent := range []string{"guest_memory", "network", "disk", "share", "exits"} {
		if strings.Contains(text, "holt_vm_"+absent) {
			t.Errorf("there are metrics of %s", absent)
		}
	}
	if !strings.Contains(text, `holt_vm_guest_up{vm="0123456789ab",id="0123456789ab"} 0`) {
		t.Errorf("nothing says that the guest does not answer, in\n%s", text)
	}
	if text := write(t); text != "" {
		t.Errorf("without a VM there is %q", text)
	}
}

func TestGrammar(t *testing.T) {
	other := full("")
	other.ID = "ba9876543210"
	hostile := full("a\"} 1\nevil{x=\"\\\xff\x00")
	hostile.ID = "000000000000"
	hostile.Shares[0].Path = "/with\nnewline\\"
	series, err := check(write(t, full("one"), other, hostile))
	if err != nil {
		t.Fatal(err)
	}
	if requests := series["holt_vm_share_requests_total"]; !requests["a\"} 1\nevil{x=\"\\\uFFFD\x00 000000000000 /with\nnewline\\"] {
		t.Errorf("hostile names are not read back: %q", slices.Collect(maps.Keys(requests)))
	}
	if n := len(series["holt_vm_disk_reads_total"]); n != 6 {
		t.Errorf("%d series of two disks of three VMs", n)
	}
}

var (
	helpLine   = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) [^\\]+$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\[\\"n])*",?)+)\} (\S+)$`)
	labelPart  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"`)
	unescape   = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

// check reads the text format as Prometheus describes it ("Exposition formats"): each
// metric in one piece behind its HELP and TYPE, and each series once. It returns the
// metrics' series, each as the values of its labels.
func check(text string) (map[string]map[string]bool, error) {
	if !strings.HasSuffix(text, "\n") {
		return nil, fmt.Errorf("the last line has no end")
	}
	metrics := map[string]map[string]bool{}
	help, current := "", ""
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if m := helpLine.FindStringSubmatch(line); m != nil {
			help = m[1]
		} else if m := typeLine.FindStringSubmatch(line); m != nil {
			if current = m[1]; current != help {
				return nil, fmt.Errorf("%q comes behind the help of %s", line, help)
			}
			if metrics[current] != nil {
				return nil, fmt.Errorf("%s begins twice", current)
			}
			if (m[2] == "counter") != strings.HasSuffix(current, "_total") {
				return nil, fmt.Errorf("%q: counters, and nothing else, end in _total", line)
			}
			metrics[current] = map[string]bool{}
		} else if m := sampleLine.FindStringSubmatch(line); m != nil {
			if m[1] != current {
				return nil, fmt.Errorf("%q stands among the samples of %s", line, current)
			}
			if _, err := strconv.ParseFloat(m[3], 64); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			var values []string
			for _, l := range labelPart.FindAllStringSubmatch(m[2], -1) {
				values = append(values, unescape.Replace(l[2]))
			}
			series := strings.Join(values, " ")
			if metrics[current][series] {
				return nil, fmt.Errorf("%q: the second of its series", line)
			}
			metrics[current][series] = true
		} else {
			return nil, fmt.Errorf("%q is no line of the format", line)
		}
	}
	return metrics, nil
}
