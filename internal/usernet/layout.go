package usernet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// MinPrefixLen and MaxPrefixLen bound the length of the guest's IPv4 prefix: the smallest
// network has room for gateway, host and guest.
const (
	MinPrefixLen = 8
	MaxPrefixLen = 29
)

// Layout is who has which address in a guest's network.
type Layout struct {
	GuestMAC, GatewayMAC net.HardwareAddr
	Guest4, Guest6       netip.Prefix // the guest's addresses with the length of the prefix
	Gateway4, Gateway6   netip.Addr
	Host4, Host6         netip.Addr // stand for the host's loopback
}

// prefix6 is the IPv6 network of every guest (RFC 4193).
var prefix6 = netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x68, 0x6f, 0x6c, 0x74, 0x00}), 64)

// Plan lays out the network of a guest with the given IPv4 address: the gateway
// has the lowest address of the network that is free, the host the next. The IPv6
// network is always the same; the guest's address there ends in its IPv4 address.
func Plan(guest netip.Prefix) (Layout, error) {
	a := guest.Addr()
	if !guest.IsValid() || !a.Is4() {
		return Layout{}, errors.New("must be an IPv4 address with a prefix length")
	}
	if guest.Bits() < MinPrefixLen || guest.Bits() > MaxPrefixLen {
		return Layout{}, fmt.Errorf("the prefix length must be from %d to %d", MinPrefixLen, MaxPrefixLen)
	}
	if err := unicast(a); err != nil {
		return Layout{}, err
	}
	if a == guest.Masked().Addr() || a == broadcast(guest) {
		return Layout{}, errors.New("is the network's own or its broadcast address")
	}
	gateway := nextFree(guest.Masked().Addr(), a)
	low := a.As4()
	high := prefix6.Addr().As16()
	copy(high[12:], low[:])
	return Layout{
		GuestMAC:   net.HardwareAddr{0x02, 0x68, 0x6f, 0x6c, 0x74, 0x01},
		GatewayMAC: net.HardwareAddr{0x02, 0x68, 0x6f, 0x6c, 0x74, 0xff},
		Guest4:     guest,
		Guest6:     netip.PrefixFrom(netip.AddrFrom16(high), prefix6.Bits()),
		Gateway4:   gateway,
		Gateway6:   prefix6.Addr().Next(),
		Host4:      nextFree(gateway, a),
		Host6:      prefix6.Addr().Next().Next(),
	}, nil
}

// setMAC gives the guest another hardware address.
func (l *Layout) setMAC(a net.HardwareAddr) error {
	switch {
	case len(a) != 6:
		return errors.New("must have 6 bytes")
	case a[0]&1 != 0: // the I/G bit of IEEE 802
		return errors.New("must not be a group's")
	case bytes.Equal(a, make([]byte, 6)):
		return errors.New("must not be zero")
	case bytes.Equal(a, l.GatewayMAC):
		return errors.New("is the gateway's")
	}
	l.GuestMAC = bytes.Clone(a)
	return nil
}

// unicast refuses addresses that no host of a network can have.
func unicast(a netip.Addr) error {
	switch first := a.As4()[0]; {
	case first == 0:
		return errors.New("0.0.0.0/8 has no hosts")
	case a.IsLoopback():
		return errors.New("must not be a loopback address")
	case first >= 224:
		return errors.New("must not be a multicast or reserved address")
	}
	return nil
}

// nextFree is the address behind a that is not taken.
func nextFree(a, taken netip.Addr) netip.Addr {
	if a = a.Next(); a == taken {
		a = a.Next()
	}
	return a
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// neighbor reports whether a is of the guest's own network, whose addresses the
// guest asks the hardware addresses of, and not the guest's.
func (l *Layout) neighbor(a netip.Addr) bool {
	switch {
	case a == l.Guest4.Addr() || a == l.Guest6.Addr():
		return false
	case a.Is4():
		return l.Guest4.Contains(a) && a != l.Guest4.Masked().Addr() && a != broadcast(l.Guest4)
	default:
		return l.Guest6.Contains(a)
	}
}

// gateway reports whether a is one of the gateway's addresses.
func (l *Layout) gateway(a netip.Addr) bool { return a == l.Gateway4 || a == l.Gateway6 }

// host reports whether a is one that stands for the host.
func (l *Layout) host(a netip.Addr) bool { return a == l.Host4 || a == l.Host6 }

// gatewayFor is the gateway's address of the same IP version as a.
func (l *Layout) gatewayFor(a netip.Addr) netip.Addr {
	if a.Is4() {
		return l.Gateway4
	}
	return l.Gateway6
}

// guestFor is the guest's address of the same IP version as a.
func (l *Layout) guestFor(a netip.Addr) netip.Addr {
	if a.Is4() {
		return l.Guest4.Addr()
	}
	return l.Guest6.Addr()
}

// guestAt is a port of the guest as the remote a sees it.
func (l *Layout) guestAt(a netip.Addr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(l.guestFor(a), port)
}
