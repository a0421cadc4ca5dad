package monitor

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holtvm/holt/internal/agentproto"
	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet"
	vnet "github.com/holtvm/holt/internal/virtio/net"
)

// TestSearch: the guest gets those of the host's search domains that the agent takes,
// unless it does not ask the host's resolver.
func TestSearch(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver 192.0.2.1\nsearch corp.example _msdcs.example b.example. " + strings.Repeat("x.example ", 20)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		network Network
		path    string
		want    []string
	}{
		{"the host's", Network{Mode: "public"}, conf, []string{"corp.example", "b.example"}},
		{"other resolvers", Network{Mode: "public", DNS: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}, conf, nil},
		{"nothing is resolved", Network{Mode: "local"}, conf, nil},
		{"no configuration", Network{Mode: "all"}, conf + "x", nil},
	} {
		got := c.network.search(c.path)
		if len(got) > agentproto.MaxAddresses {
			t.Errorf("%s: %d domains", c.name, len(got))
		}
		if got = got[:min(len(got), 2)]; !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestNetworkEnd: what was denied is logged at the end so that it is seen.
func TestNetworkEnd(t *testing.T) {
	// A datagram to the metadata service, from 10.0.2.15.
	datagram := []byte("\x02holt\xff\x02holt\x01\x08\x00" +
		"\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x1a\xc6\x0a\x00\x02\x0f\xa9\xfe\xa9\xfe" +
		"\x10\x00\x00\x50\x00\x08\x00\x00")
	for _, denied := range []bool{false, true} {
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, nil)) // from info on
		spec := Network{Mode: "public", Address: netip.MustParsePrefix("10.0.2.15/24")}
		config, err := spec.config(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		n, err := usernet.New(config)
		if err != nil {
			t.Fatal(err)
		}
		n.Transmit(netframe.Frame{Parts: [][]byte{datagram[:14]}})
		if denied {
			n.Transmit(netframe.Frame{Parts: [][]byte{datagram}})
		}
		e := &networkEnd{n, vnet.New([6]byte{2}, 1500, n, logger), logger}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if !denied {
			if log.Len() > 0 {
				t.Errorf("the log says %s", &log)
			}
			continue
		}
		for _, want := range []string{`denied="metadata service: 1"`, "frames_out=2", "malformed=1", "level=INFO"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log says %s, and not %q", &log, want)
			}
		}
	}
}
