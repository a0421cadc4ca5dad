//go:build tcg

package tcg

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// Targets of the table below. Each is served, so that whoever is let through
// reaches it.
var (
	public   = []string{"tcp:93.184.215.14:7070", "tcp:[2606:2800:21f::14]:7070", "udp:8.8.4.4:7070", "udp:[2a00:1450::5]:7070", "ping:93.184.215.14", "ping:2a00:1450::5"}
	private  = []string{"tcp:10.77.0.1:7070", "udp:172.16.5.5:7070", "tcp:192.168.7.7:7070", "tcp:100.64.9.9:7070", "tcp:[fd77::1]:7070", "ping:10.77.0.1"}
	metadata = []string{"tcp:169.254.169.254:7070", "udp:169.254.169.254:7070", "tcp:169.254.7.7:7070", "tcp:[fd00:ec2::254]:7070", "ping:169.254.169.254"}
	hostSelf = []string{"tcp:93.184.215.1:7070", "tcp:[2606:2800:21f::1]:7070", "udp:93.184.215.1:7070"}
	loopback = []string{"tcp:host.holt.internal:7070", "udp:host.holt.internal:7070", "tcp:10.0.2.2:7070", "tcp:[fd68:6f6c:7400::2]:7070", "ping:10.0.2.2"}
	// neighbours are addresses in the guest's own network that nobody has.
	neighbours = []string{"tcp:10.0.2.99:7070", "udp:10.0.2.99:7070", "tcp:[fd68:6f6c:7400::99]:7070", "tcp:10.0.2.1:7070", "udp:10.0.2.1:7070"}
)

// reach is what a guest with these flags is to find, in this order.
type reach struct {
	name  string
	flags []string
	want  []verdict
}

type verdict struct{ probe, is string }

// are is one verdict for several lists of probes.
func are(is string, lists ...[]string) (v []verdict) {
	for _, probe := range slices.Concat(lists...) {
		v = append(v, verdict{probe, is})
	}
	return v
}

const (
	reached = "reached"
	refused = "refused"
	unknown = "unknown"
)

var reaches = []reach{
	{"none", []string{"--network", "none"}, slices.Concat(
		are(refused, public, private, metadata, hostSelf),
		are(unknown, []string{"name:one.example"}),
	)},
	{"local", []string{"--network", "local"}, slices.Concat(
		are(reached, loopback),
		are(refused, public, private, metadata, hostSelf, neighbours),
		are(unknown, []string{"name:one.example", "name:nothing.holt.internal"}),
		are(reached, []string{"name:host.holt.internal"}),
	)},
	{"local_only", []string{"--config", "local_only"}, slices.Concat(
		are(reached, loopback),
		are(refused, public, private, metadata, hostSelf),
	)},
	{"public", nil, slices.Concat(
		are(reached, public, []string{"name:one.example", "tcp:one.example:7070", "tcp:alias.example:7070"}),
		are(refused, loopback[2:4], private, metadata, hostSelf, neighbours),
		// Names that lead where the guest may not go, and where none of a
		// name's addresses is left.
		are(unknown, []string{"name:rebind.example", "name:rebind6.example", "name:mapped.example", "name:meta.example", "name:lan.example", "name:no.such.example"}),
		are(reached, []string{"tcp:both.example:7070"}),
	)},
	{"all", []string{"--network", "all"}, slices.Concat(
		are(reached, public, private, metadata, hostSelf, loopback, []string{"tcp:lan.example:7070", "tcp:meta.example:7070"}),
	)},
	{"allow an address", []string{"--allow", "10.77.0.1"}, slices.Concat(
		are(reached, []string{"tcp:10.77.0.1:7070", "ping:10.77.0.1", "tcp:lan.example:7070"}, public),
		are(refused, []string{"udp:172.16.5.5:7070"}, metadata),
	)},
	{"allow a port and a protocol", []string{"--allow", "10.0.0.0/8:7000-7070/tcp"}, slices.Concat(
		are(reached, []string{"tcp:10.77.0.1:7070"}),
		are(refused, []string{"udp:10.77.0.1:7070", "tcp:10.77.0.1:53", "ping:10.77.0.1"}),
	)},
	{"deny a prefix", []string{"--deny", "93.184.215.0/24"}, slices.Concat(
		are(refused, []string{"tcp:93.184.215.14:7070", "ping:93.184.215.14"}),
		are(reached, []string{"udp:8.8.4.4:7070", "tcp:[2606:2800:21f::14]:7070"}),
	)},
	{"deny a port", []string{"--deny", ":7070/udp"}, slices.Concat(
		are(refused, []string{"udp:8.8.4.4:7070", "udp:[2a00:1450::5]:7070"}),
		are(reached, []string{"tcp:93.184.215.14:7070", "ping:93.184.215.14"}),
	)},
	{"a name and no more", []string{"--allow", "one.example:7070", "--deny", "any"}, slices.Concat(
		are(refused, []string{"tcp:93.184.215.14:7070"}), // nobody asked for it yet
		are(unknown, []string{"name:www.two.example", "name:deep.one.example"}),
		are(reached, []string{"tcp:one.example:7070", "udp:one.example:7070", "tcp:93.184.215.14:7070"}),
		are(refused, []string{"tcp:one.example:53", "udp:8.8.4.4:7070", "ping:8.8.4.4"}),
	)},
	{"a domain and no more", []string{"--allow", "*.two.example", "--deny", "any"}, slices.Concat(
		are(unknown, []string{"name:one.example", "name:two.example"}),
		are(reached, []string{"tcp:www.two.example:7070", "udp:www.two.example:7070"}),
		are(refused, []string{"tcp:93.184.215.14:7070"}),
	)},
	{"a domain that leads home", []string{"--allow", "*.allowed.example", "--deny", "any"}, slices.Concat(
		are(unknown, []string{"name:rebind.allowed.example"}),
		are(refused, []string{"tcp:169.254.169.254:7070", "tcp:10.77.0.1:7070", "tcp:10.0.2.2:7070"}),
	)},
	{"deny a name", []string{"--deny", "one.example"}, slices.Concat(
		are(unknown, []string{"name:one.example"}),
		are(reached, []string{"tcp:www.two.example:7070"}),
	)},
	{"the first rule decides", []string{"--deny", "8.8.4.4", "--allow", "8.8.4.0/24", "--deny", "93.184.215.14:7070", "--network", "local", "--allow", "any"}, slices.Concat(
		are(refused, []string{"udp:8.8.4.4:7070", "tcp:93.184.215.14:7070", "tcp:10.77.0.1:7070"}),
		are(reached, []string{"udp:[2a00:1450::5]:7070", "tcp:host.holt.internal:7070"}),
	)},
}

// TestNetworkReach goes through modes and rules: what a guest reaches, and what it
// is refused at once.
func TestNetworkReach(t *testing.T) {
	t.Parallel()
	w := vmtest.NewWorld(t)
	vmtest.Serve(t, w.Beyond, "servers")
	vmtest.Serve(t, w.Host, "servers")
	local := filepath.Join(t.TempDir(), "local.json")
	if err := os.WriteFile(local, []byte(`{"local_only": true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, r := range reaches {
		t.Run(r.name, func(t *testing.T) {
			flags := slices.Clone(r.flags)
			if i := slices.Index(flags, "local_only"); i >= 0 {
				flags[i] = local
			}
			var list []string
			for _, v := range r.want {
				list = append(list, v.probe)
			}
			// The names are looked up at the server beyond, except where the
			// guest has no network.
			if r.name != "none" {
				flags = append(flags, "--dns", "93.184.215.14")
			}
			flags = append(flags, "-e", "HOLT_TEST_PROBES="+strings.Join(list, " "))
			got := vmtest.Command{Args: vmtest.GuestHalf(t, "probe", flags...), Netns: w.Host}.Run(t)
			lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
			for i, v := range r.want {
				is := "nothing"
				if i < len(lines) {
					is = strings.TrimPrefix(lines[i], v.probe+" ")
				}
				if is != v.is {
					t.Errorf("%s: %s, want %s", v.probe, is, v.is)
				}
			}
			if t.Failed() || got.Code != 0 {
				t.Errorf("exit status %d, errors:\n%s", got.Code, got.Stderr)
			}
		})
	}
}
