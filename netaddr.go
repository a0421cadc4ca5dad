package holt

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ParseAssignedIP parses the guest's IPv4 address and the length of its network's
// prefix, "10.0.2.15/16". The length may be left out and is then 0, which stands
// for 24 bits.
func ParseAssignedIP(s string) (ip netip.Addr, bits uint8, err error) {
	if ip, bits, err = parseAssigned(s); err != nil {
		return netip.Addr{}, 0, fmt.Errorf("assigned IP %q: %w", s, err)
	}
	return ip, bits, nil
}

func parseAssigned(s string) (ip netip.Addr, bits uint8, err error) {
	if !strings.Contains(s, "/") {
		ip, err = parseAssignedIP(s)
		return ip, 0, err
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() == 0 {
		return ip, 0, errors.New("must be an IPv4 address, such as 10.0.2.15, or one with a prefix length, such as 10.0.2.15/16")
	}
	return p.Addr(), uint8(p.Bits()), nil
}

func parseAssignedIP(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, errNotIPv4
	}
	return ip, nil
}

// dnsPort is where DNS servers listen (RFC 1035, 4.2).
const dnsPort = 53

var errDNSServer = errors.New("must be the address of a DNS server: 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:53")

// ParseDNSServer parses the address of a DNS server, "192.0.2.1:5353". The port may
// be left out and is then 53; an IPv6 address with a port is in brackets.
func ParseDNSServer(s string) (netip.AddrPort, error) {
	server, err := parseDNSServer(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("DNS server %q: %w", s, err)
	}
	return server, nil
}

func parseDNSServer(s string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(ip, dnsPort), nil
	}
	server, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, errDNSServer
	}
	return server, nil
}
