package usernet

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/holtvm/holt/internal/netframe"
)

// verdict is what the gate thinks of a frame.
type verdict uint8

const (
	ignored       verdict = iota // well-formed, but nothing that this network deals with
	malformed                    // of a length or form that no frame has
	spoofed                      // from an address that is not the guest's
	forStack4                    // an IPv4 packet that the stack deals with
	forStack6                    // an IPv6 packet that the stack deals with
	arpRequest                   // asks for a hardware address
	neighborQuery                // asks the same in IPv6
	echo4                        // an ICMP echo request
	echo6                        // an ICMPv6 echo request
)

// gate decides what becomes of a guest's frame. All that passes has the guest's
// own addresses as its source and a destination that a single machine could have.
type gate struct{ layout *Layout }

// check looks at a frame, which must not change any more.
func (g gate) check(b []byte) verdict {
	if len(b) < netframe.HeaderSize {
		return malformed
	}
	if !bytes.Equal(b[6:12], g.layout.GuestMAC) {
		return spoofed
	}
	switch packet := b[netframe.HeaderSize:]; header.Ethernet(b).Type() {
	case header.IPv4ProtocolNumber:
		return g.check4(packet)
	case header.IPv6ProtocolNumber:
		return g.check6(packet)
	case header.ARPProtocolNumber:
		return g.checkARP(packet)
	}
	return ignored
}

func (g gate) check4(b []byte) verdict {
	if len(b) < header.IPv4MinimumSize {
		return malformed
	}
	ip := header.IPv4(b)
	size, total := int(ip.HeaderLength()), int(ip.TotalLength())
	if b[0]>>4 != 4 || size < header.IPv4MinimumSize || size > total || total > len(b) {
		return malformed
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if src != g.layout.Guest4.Addr() {
		if src.IsUnspecified() { // DHCP
			return ignored
		}
		return spoofed
	}
	if !g.single(dst) {
		return ignored
	}
	switch payload := b[size:total]; ip.TransportProtocol() {
	case header.TCPProtocolNumber, header.UDPProtocolNumber:
		return forStack4
	case header.ICMPv4ProtocolNumber:
		// Echo requests in fragments are larger than the MTU: nobody needs them.
		if ip.More() || ip.FragmentOffset() != 0 {
			return ignored
		}
		if len(payload) < header.ICMPv4MinimumSize {
			return malformed
		}
		switch header.ICMPv4(payload).Type() {
		case header.ICMPv4Echo:
			return echo4
		case header.ICMPv4DstUnreachable: // the guest refuses a published connection
			return forStack4
		}
	}
	return ignored
}

func (g gate) check6(b []byte) verdict {
	if len(b) < header.IPv6MinimumSize {
		return malformed
	}
	ip := header.IPv6(b)
	size := int(ip.PayloadLength())
	if b[0]>>4 != 6 || header.IPv6MinimumSize+size > len(b) {
		return malformed
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	payload := b[header.IPv6MinimumSize:][:size]
	next := tcpip.TransportProtocolNumber(ip.NextHeader())
	if next == header.ICMPv6ProtocolNumber && size >= header.ICMPv6NeighborSolicitMinimumSize &&
		header.ICMPv6(payload).Type() == header.ICMPv6NeighborSolicit {
		if !src.IsLinkLocalUnicast() && !src.IsUnspecified() && src != g.layout.Guest6.Addr() {
			return spoofed
		}
		if ip.HopLimit() != header.NDPHopLimit {
			return malformed
		}
		return neighborQuery
	}
	if src != g.layout.Guest6.Addr() {
		// The guest's kernel tells routers and multicast listeners of itself.
		if src.IsLinkLocalUnicast() || src.IsUnspecified() {
			return ignored
		}
		return spoofed
	}
	if !g.single(dst) {
		return ignored
	}
	switch next {
	case header.TCPProtocolNumber, header.UDPProtocolNumber:
		return forStack6
	case header.IPv6FragmentHeader:
		if size < header.IPv6FragmentHeaderSize {
			return malformed
		}
		switch payload[0] {
		case uint8(header.TCPProtocolNumber), uint8(header.UDPProtocolNumber):
			return forStack6
		}
	case header.ICMPv6ProtocolNumber:
		if size < header.ICMPv6MinimumSize {
			return malformed
		}
		switch header.ICMPv6(payload).Type() {
		case header.ICMPv6EchoRequest:
			return echo6
		case header.ICMPv6DstUnreachable:
			return forStack6
		}
	}
	return ignored
}

// single reports whether a is an address of one machine, other than the guest.
func (g gate) single(a netip.Addr) bool {
	if a.Is4() {
		limited := netip.AddrFrom4([4]byte{255, 255, 255, 255})
		if a == limited || a == broadcast(g.layout.Guest4) || a == g.layout.Guest4.Masked().Addr() {
			return false
		}
	}
	return !a.IsMulticast() && !a.IsUnspecified() && a != g.layout.guestFor(a)
}

// checkARP looks at an ARP packet (RFC 826).
func (g gate) checkARP(b []byte) verdict {
	if len(b) < header.ARPSize {
		return malformed
	}
	arp := header.ARP(b)
	if !arp.IsValid() {
		return ignored
	}
	sender := netip.AddrFrom4([4]byte(arp.ProtocolAddressSender()))
	// A machine that probes an address does not have one yet (RFC 5227).
	if !bytes.Equal(arp.HardwareAddressSender(), g.layout.GuestMAC) ||
		sender != g.layout.Guest4.Addr() && !sender.IsUnspecified() {
		return spoofed
	}
	if arp.Op() != header.ARPRequest {
		return ignored
	}
	return arpRequest
}

// ethernet writes an Ethernet header of a frame from the gateway to the guest.
func (l *Layout) ethernet(b []byte, etherType uint16) {
	copy(b, l.GuestMAC)
	copy(b[6:], l.GatewayMAC)
	binary.BigEndian.PutUint16(b[12:], etherType)
}
