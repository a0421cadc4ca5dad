package agentproto

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidateNetwork(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	tests := []struct {
		name   string
		change func(*Network)
		want   string // part of the error, or empty if valid
	}{
		{"example", func(*Network) {}, ""},
		{"IPv4 alone", func(n *Network) { n.Addresses, n.Gateways = n.Addresses[:1], n.Gateways[:1] }, ""},
		{"no gateway", func(n *Network) { n.Gateways = nil }, ""},
		{"gateway outside", func(n *Network) { n.Gateways[0] = addr("198.51.100.1") }, ""},
		{"link-local gateway", func(n *Network) { n.Gateways[1] = addr("fe80::1") }, ""},
		{"point to point", func(n *Network) { n.Addresses[0] = prefix("192.0.2.2/32") }, ""},
		{"name server on the loopback", func(n *Network) { n.Nameservers[0] = addr("127.0.0.53") }, ""},
		{"capital letters", func(n *Network) { n.MAC, n.Search[0] = "02:00:00:00:00:AF", "Example.ORG" }, ""},

		{"no MAC", func(n *Network) { n.MAC = "" }, "mac"},
		{"short MAC", func(n *Network) { n.MAC = "02:00:00:00:00" }, "mac"},
		{"long MAC", func(n *Network) { n.MAC += ":00" }, "mac"},
		{"MAC of odd digits", func(n *Network) { n.MAC = "2:00:00:00:00:01" }, "mac"},
		{"MAC of other letters", func(n *Network) { n.MAC = "02:00:00:00:00:0g" }, "mac"},
		{"MAC of a group", func(n *Network) { n.MAC = "01:00:5e:00:00:01" }, "mac"},
		{"zero MAC", func(n *Network) { n.MAC = "00:00:00:00:00:00" }, "mac"},
		{"small MTU", func(n *Network) { n.MTU = 1279 }, "mtu 1279"},
		{"large MTU", func(n *Network) { n.MTU = 65536 }, "mtu 65536"},

		{"no address", func(n *Network) { n.Addresses, n.Gateways = nil, nil }, "one at least"},
		{"zero address", func(n *Network) { n.Addresses[0] = netip.Prefix{} }, "addresses[0]"},
		{"unspecified address", func(n *Network) { n.Addresses[0] = prefix("0.0.0.0/24") }, "addresses[0]"},
		{"address of a group", func(n *Network) { n.Addresses[1] = prefix("ff02::1/64") }, "addresses[1]"},
		{"loopback address", func(n *Network) { n.Addresses[0] = prefix("127.0.0.2/8") }, "addresses[0]"},
		{"prefix of no length", func(n *Network) { n.Addresses[0] = prefix("192.0.2.2/0") }, "addresses[0]"},
		{"address in IPv6's clothes", func(n *Network) { n.Addresses[1] = netip.PrefixFrom(addr("::ffff:192.0.2.2"), 120) }, "addresses[1]"},
		{"address twice", func(n *Network) { n.Addresses[1] = prefix("192.0.2.2/25") }, "given twice"},
		{"many addresses", func(n *Network) { n.Addresses = make([]netip.Prefix, 17) }, "addresses: 17"},

		{"two gateways", func(n *Network) { n.Gateways[1] = addr("192.0.2.3") }, "second"},
		{"gateway of the other version", func(n *Network) { n.Addresses = n.Addresses[:1] }, "gateways[1]: 2001:db8::1: the guest has no"},
		{"gateway with a zone", func(n *Network) { n.Gateways[1] = addr("fe80::1%eth0") }, "gateways[1]"},
		{"guest as the gateway", func(n *Network) { n.Gateways[0] = addr("192.0.2.2") }, "own address"},
		{"zero gateway", func(n *Network) { n.Gateways[0] = netip.Addr{} }, "gateways[0]"},

		{"name server with a newline", func(n *Network) { n.Nameservers[0] = addr("fe80::1%a\nsearch evil") }, "nameservers[0]"},
		{"many name servers", func(n *Network) { n.Nameservers = make([]netip.Addr, 17) }, "nameservers: 17"},
		{"search with a newline", func(n *Network) { n.Search[0] = "a\nnameserver 192.0.2.66" }, "search[0]"},
		{"search with a space", func(n *Network) { n.Search[0] = "a b" }, "search[0]"},
		{"search for the root", func(n *Network) { n.Search[0] = "." }, "search[0]"},
		{"many domains", func(n *Network) { n.Search = make([]string, 17) }, "search: 17"},

		{"host with a newline", func(n *Network) { n.Hosts[0].Names[0] = "a\n192.0.2.66 bank.example" }, "hosts[0]"},
		{"host with a NUL", func(n *Network) { n.Hosts[0].Names[0] = "a\x00" }, "hosts[0]"},
		{"host with a comment", func(n *Network) { n.Hosts[0].Names[0] = "a#" }, "hosts[0]"},
		{"host with an empty label", func(n *Network) { n.Hosts[0].Names[0] = "a..b" }, "hosts[0]"},
		{"host with a hyphen first", func(n *Network) { n.Hosts[0].Names[0] = "-a" }, "hosts[0]"},
		{"host with a long label", func(n *Network) { n.Hosts[0].Names[0] = strings.Repeat("x", 64) }, "hosts[0]"},
		{"host with a long name", func(n *Network) { n.Hosts[0].Names[0] = strings.Repeat("x.", 127) }, "hosts[0]"},
		{"host without a name", func(n *Network) { n.Hosts[0].Names = nil }, "0 names"},
		{"host with many names", func(n *Network) { n.Hosts[0].Names = make([]string, 33) }, "33 names"},
		{"host without an address", func(n *Network) { n.Hosts[0].Addr = netip.Addr{} }, "hosts[0]: addr"},
		{"many hosts", func(n *Network) { n.Hosts = make([]HostEntry, 257) }, "hosts: 257"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := networkBootSpec().Network
			tt.change(n)
			err := n.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestHardwareAddr(t *testing.T) {
	got, err := Network{MAC: "02:1a:FF:00:9b:01"}.HardwareAddr()
	if want := [6]byte{2, 0x1a, 0xff, 0, 0x9b, 1}; got != want || err != nil {
		t.Errorf("%x, %v", got, err)
	}
}
