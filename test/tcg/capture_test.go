//go:build tcg

package tcg

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/vmtest"
)

// TestCapture: what passed the guest's card is in a file that tshark reads.
func TestCapture(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "net.pcap")
	r := vmtest.Run(t, "run", "--network", "local", "--pcap", file, "--", "sh", "-c",
		"ping -c 1 host.holt.internal >/dev/null && nslookup nothing.holt.internal >/dev/null; nc -w 1 host.holt.internal 1; true")
	r.Want(t, 0, "")
	packets := tool(t, "tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.protocols", "-e", "ip.src", "-e", "_ws.col.Info")
	for _, want := range []string{
		"eth:ethertype:ip:icmp:data\t10.0.2.15\tEcho (ping) request",
		"eth:ethertype:ip:icmp:data\t10.0.2.2\tEcho (ping) reply",
		"eth:ethertype:ip:udp:dns\t10.0.2.1\tStandard query response",
		"eth:ethertype:ip:tcp\t10.0.2.15\t",
		"[RST, ACK]",
	} {
		if !strings.Contains(packets, want) {
			t.Errorf("no %q in\n%s", want, packets)
		}
	}
	if strings.Contains(packets, "Malformed") {
		t.Errorf("tshark finds malformed packets:\n%s", packets)
	}
}
