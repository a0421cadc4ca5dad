package usernet

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	tests := []struct{ guest, gateway, host, guest6, problem string }{
		{"10.0.2.15/24", "10.0.2.1", "10.0.2.2", "fd68:6f6c:7400::a00:20f/64", ""},
		{"10.0.2.1/24", "10.0.2.2", "10.0.2.3", "fd68:6f6c:7400::a00:201/64", ""},
		{"10.0.2.2/24", "10.0.2.1", "10.0.2.3", "fd68:6f6c:7400::a00:202/64", ""},
		{"192.168.7.78/29", "192.168.7.73", "192.168.7.74", "fd68:6f6c:7400::c0a8:74e/64", ""},
		{"10.255.255.254/8", "10.0.0.1", "10.0.0.2", "fd68:6f6c:7400::aff:fffe/64", ""},
		{"10.0.2.15/30", "", "", "", "prefix length must be from 8 to 29"},
		{"10.0.2.15/7", "", "", "", "prefix length must be from 8 to 29"},
		{"10.0.2.0/24", "", "", "", "network's own"},
		{"10.0.2.255/24", "", "", "", "broadcast"},
		{"127.0.0.2/24", "", "", "", "loopback"},
		{"224.0.0.1/24", "", "", "", "multicast"},
		{"0.0.0.1/24", "", "", "", "no hosts"},
		{"fd00::1/64", "", "", "", "must be an IPv4 address"},
	}
	for _, test := range tests {
		l, err := Plan(netip.MustParsePrefix(test.guest))
		if test.problem != "" {
			if err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("%s: %v", test.guest, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.guest, err)
			continue
		}
		if l.Gateway4.String() != test.gateway || l.Host4.String() != test.host || l.Guest6.String() != test.guest6 {
			t.Errorf("%s: got %+v", test.guest, l)
		}
		if l.Gateway6.String() != "fd68:6f6c:7400::1" || l.Host6.String() != "fd68:6f6c:7400::2" {
			t.Errorf("%s: got %+v", test.guest, l)
		}
		if l.GuestMAC[0]&3 != 2 || l.GatewayMAC[0]&3 != 2 || l.GuestMAC.String() == l.GatewayMAC.String() {
			t.Errorf("%s: the hardware addresses are %s and %s", test.guest, l.GuestMAC, l.GatewayMAC)
		}
	}
	if _, err := Plan(netip.Prefix{}); err == nil {
		t.Error("no address is accepted")
	}
}
