package holt

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Protocol is the transport protocol of a published port.
type Protocol uint8

// The protocols that can be published.
const (
	TCP Protocol = iota // the default
	UDP
)

// String returns "tcp" or "udp", or "Protocol(n)" for a number that is neither.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("Protocol(%d)", uint8(p))
}

// PortPair publishes a guest port on the host. Its text form is
// "[ip:]host:guest[/tcp|/udp]".
type PortPair struct {
	// HostIP is the host address to listen on. The zero Addr means every
	// address, or the loopback when Config.LocalOnly is set.
	HostIP netip.Addr
	// Host is the port on the host, 1 to 65535.
	Host uint16
	// Guest is the port in the guest, 1 to 65535.
	Guest uint16
	// Protocol is TCP or UDP.
	Protocol Protocol
}

var errPortForm = errors.New("must be [ip:]host:guest[/tcp|/udp] or port; an IPv6 address is written in brackets")

// ParsePortPair parses "host:guest", "ip:host:guest" or "port", which is used
// on both sides, each optionally followed by "/tcp" (the default) or "/udp". An
// IPv6 address is written in brackets: "[::1]:8080:80". Addresses with a zone
// are refused.
func ParsePortPair(s string) (PortPair, error) {
	p, err := parsePortPair(s)
	if err != nil {
		return PortPair{}, fmt.Errorf("port pair %q: %w", s, err)
	}
	return p, nil
}

func parsePortPair(s string) (PortPair, error) {
	var p PortPair
	rest, protocol, found := strings.Cut(s, "/")
	if found {
		var err error
		if p.Protocol, err = parseProtocol(protocol); err != nil {
			return PortPair{}, err
		}
	}
	ip, rest, err := cutHostIP(rest)
	if err != nil {
		return PortPair{}, err
	}
	p.HostIP = ip
	host, guest, two := strings.Cut(rest, ":")
	if !two {
		if ip.IsValid() {
			return PortPair{}, errPortForm
		}
		guest = host
	}
	if p.Host, err = parsePort("host", host); err != nil {
		return PortPair{}, err
	}
	if p.Guest, err = parsePort("guest", guest); err != nil {
		return PortPair{}, err
	}
	if err := p.check(); err != nil {
		return PortPair{}, err
	}
	return p, nil
}

func parseProtocol(s string) (Protocol, error) {
	switch s {
	case "tcp":
		return TCP, nil
	case "udp":
		return UDP, nil
	}
	return 0, fmt.Errorf("protocol %q must be tcp or udp", s)
}

// cutHostIP splits the address, if there is one, from the ports behind it.
func cutHostIP(s string) (ip netip.Addr, ports string, err error) {
	var text string
	bracketed := strings.HasPrefix(s, "[")
	switch colons := strings.Count(s, ":"); {
	case bracketed:
		var found bool
		if text, ports, found = strings.Cut(s[1:], "]:"); !found {
			return ip, "", errPortForm
		}
	case colons > 2:
		return ip, "", errPortForm
	case colons == 2:
		text, ports, _ = strings.Cut(s, ":")
	default:
		return ip, s, nil
	}
	ip, err = netip.ParseAddr(text)
	if err != nil || ip.Is6() != bracketed {
		return netip.Addr{}, "", fmt.Errorf("host address %q must be an IPv4 address, or an IPv6 address in brackets", text)
	}
	return ip.Unmap(), ports, nil
}

func parsePort(side, s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errPort(side, s)
	}
	return uint16(n), nil
}

func errPort(side, s string) error {
	return fmt.Errorf("%s port %q must be a number from 1 to 65535", side, s)
}

func (p PortPair) check() error {
	switch {
	case p.Host == 0:
		return errPort("host", "0")
	case p.Guest == 0:
		return errPort("guest", "0")
	case p.Protocol > UDP:
		return fmt.Errorf("protocol %q must be tcp or udp", p.Protocol)
	case p.HostIP.Zone() != "":
		return fmt.Errorf("host address %q must not have a zone", p.HostIP)
	}
	return nil
}

// overlaps reports whether p and q would listen on the same host port. An
// address that stands for all of them overlaps with each.
func (p PortPair) overlaps(q PortPair) bool {
	if p.Host != q.Host || p.Protocol != q.Protocol {
		return false
	}
	return p.everywhere() || q.everywhere() || p.HostIP.Unmap() == q.HostIP.Unmap()
}

func (p PortPair) everywhere() bool {
	return !p.HostIP.IsValid() || p.HostIP.Unmap().IsUnspecified()
}

// String returns "[ip:]host:guest", followed by "/udp" for UDP; it parses to p
// again.
func (p PortPair) String() string {
	var b strings.Builder
	switch ip := p.HostIP.Unmap(); {
	case ip.Is4():
		fmt.Fprintf(&b, "%s:", ip)
	case ip.Is6():
		fmt.Fprintf(&b, "[%s]:", ip)
	}
	fmt.Fprintf(&b, "%d:%d", p.Host, p.Guest)
	if p.Protocol != TCP {
		fmt.Fprintf(&b, "/%s", p.Protocol)
	}
	return b.String()
}

// MarshalText is String. It fails on a pair that would not parse again.
func (p PortPair) MarshalText() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("port pair %q: %w", p.String(), err)
	}
	return []byte(p.String()), nil
}

// UnmarshalText is ParsePortPair.
func (p *PortPair) UnmarshalText(text []byte) error { return unmarshalText(p, text, ParsePortPair) }
