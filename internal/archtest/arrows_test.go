package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// An arrow says what a package may not reach, neither itself nor through what
// it imports. Tests are exempt: they may build what the package must not know.
type arrow struct {
	from   []string
	except []string
	never  []string
	why    string
}

var (
	hypervisors = []string{"internal/hypervisor/...", "internal/kvmapi"}
	transports  = []string{"internal/virtio/mmio", "internal/virtio/vhostuser"}
	machinery   = []string{"internal/virtio/...", "internal/guestmem", "internal/hypervisor/...", "internal/kvmapi"}
	above       = []string{".", "internal/cli/...", "internal/monitor/...", "internal/control/..."}
)

var arrows = []arrow{
	{
		from:  []string{"internal/fsserver/...", "internal/usernet/...", "internal/diskimage"},
		never: slices.Concat(machinery, above),
		why:   "a backend knows no virtio, so it is tested and used without a device",
	},
	{
		from:   []string{"internal/virtio/..."},
		except: slices.Concat(transports, []string{"internal/virtio", "internal/virtio/queue"}),
		never:  slices.Concat(transports, hypervisors, above),
		why:    "a device is handed an Interrupter; it never sees what carries it",
	},
	{
		from:  transports,
		never: slices.Concat(hypervisors, above, []string{"internal/fsserver/...", "internal/usernet/...", "internal/diskimage"}),
		why:   "a transport carries any device and serves any hypervisor",
	},
	{
		from:  []string{"internal/hypervisor/..."},
		never: above,
		why:   "the monitor drives hypervisors, not the other way round",
	},
	{
		from:  []string{"internal/monitor/..."},
		never: []string{".", "internal/cli/..."},
		why:   "the public API and the command line stand on the monitor",
	},
	{
		from:   []string{"internal/..."},
		except: []string{"internal/cli/..."},
		never:  []string{".", "internal/cli/..."},
		why:    "only the command line stands above the public API",
	},
	{
		from:  []string{"."},
		never: []string{"internal/cli/..."},
		why:   "a program that embeds Holt does not get its command line",
	},
	{
		from:  []string{"internal/guestmem", "internal/kvmapi", "internal/virtio/eventfd", "internal/netframe"},
		never: []string{".", "internal/..."},
		why:   "these are leaves: guest memory, the KVM ABI, eventfds and frames know nobody",
	},
	{
		from:  []string{"internal/filetree/...", "internal/outlog", "internal/logfile", "internal/eventlog", "internal/state", "internal/control"},
		never: slices.Concat(machinery, []string{".", "internal/cli/...", "internal/monitor/...", "internal/agent/...", "internal/agentclient"}),
		why:   "what is on disk and on the control socket is read by every client, without a machine",
	},
	{
		from: []string{"internal/agent/...", "internal/agentclient/..."},
		never: slices.Concat(machinery, above, []string{
			"internal/fsserver/...", "internal/usernet/...", "internal/kernel/...", "internal/boot/...",
		}),
		why: "the agent and its client share a wire protocol and nothing of the host",
	},
}

func TestArrows(t *testing.T) {
	reach := reachable(load(t))
	for _, a := range arrows {
		for _, from := range slices.Sorted(maps.Keys(reach)) {
			if !matchesAny(a.from, from) || matchesAny(a.except, from) || testOnly(from) {
				continue
			}
			for _, to := range slices.Sorted(maps.Keys(reach[from])) {
				if to != from && matchesAny(a.never, to) {
					t.Errorf("%s reaches %s (%s): %s", from, to, strings.Join(reach[from][to], " -> "), a.why)
				}
			}
		}
	}
}

// A device knows virtio, queues, guest memory, network frames, the limited log and
// the one backend that it serves.
// What else it imports of Holt's own would make two devices depend on each
// other or on the machine.
func TestDevicesKnowOneBackend(t *testing.T) {
	allowed := []string{"internal/virtio", "internal/virtio/queue", "internal/guestmem", "internal/guestlog", "internal/netframe"}
	backends := []string{"internal/fsserver", "internal/usernet", "internal/diskimage"}
	seen := map[string]string{}
	for _, s := range load(t).sources {
		if s.test || !isDevice(s.pkg) {
			continue
		}
		for _, imported := range s.own {
			switch {
			case slices.Contains(allowed, imported) || strings.HasPrefix(imported, s.pkg+"/"):
			case !slices.Contains(backends, imported):
				t.Errorf("%s imports %s: a device imports virtio, virtio/queue, guestmem, guestlog, netframe and one backend", s.path, imported)
			case seen[s.pkg] != "" && seen[s.pkg] != imported:
				t.Errorf("%s imports %s, and the package already %s", s.path, imported, seen[s.pkg])
			default:
				seen[s.pkg] = imported
			}
		}
	}
}

func isDevice(pkg string) bool {
	return strings.HasPrefix(pkg, "internal/virtio/") &&
		!slices.Contains(transports, pkg) && pkg != "internal/virtio/queue" && pkg != "internal/virtio/eventfd"
}

// The protocol stands alone, so that it can be implemented from its description
// and read by both ends without either's dependencies.
func TestAgentprotoStandsAlone(t *testing.T) {
	for _, s := range load(t).sources {
		if s.test || !matches("internal/agentproto/...", s.pkg) {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(s.foreign), isStd)
		if others = append(others, s.own...); len(others) > 0 {
			t.Errorf("%s imports %v: agentproto imports the standard library only", s.path, others)
		}
	}
}

// isStd reports whether an import that is not Holt's own is the standard
// library's: other modules start with a host name.
func isStd(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// Helpers of tests are not part of the program, whatever their file names.
func TestHelpersOfTestsStayInTests(t *testing.T) {
	for _, s := range load(t).sources {
		if s.test || testOnly(s.pkg) {
			continue
		}
		for _, imported := range s.own {
			if testOnly(imported) {
				t.Errorf("%s imports %s, which is for tests", s.path, imported)
			}
		}
		if slices.Contains(s.foreign, "testing") {
			t.Errorf("%s imports testing", s.path)
		}
	}
}

// reachable maps each package to what it reaches through non-test files, each
// with one way there.
func reachable(tr tree) map[string]map[string][]string {
	direct := map[string][]string{}
	for _, s := range tr.sources {
		if !s.test {
			direct[s.pkg] = append(direct[s.pkg], s.own...)
		}
	}
	reach := map[string]map[string][]string{}
	for from := range direct {
		ways := map[string][]string{from: {from}}
		for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
			for _, to := range direct[queue[0]] {
				if _, known := ways[to]; !known {
					ways[to] = append(slices.Clone(ways[queue[0]]), to)
					queue = append(queue, to)
				}
			}
		}
		reach[from] = ways
	}
	return reach
}
