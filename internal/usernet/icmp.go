package usernet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// refusal is why a packet of the guest did not get anywhere, as ICMP says it.
type refusal uint8

const (
	prohibited      refusal = iota // the policy denies it
	portUnreachable                // nobody listens
	hostUnreachable                // there is no way
)

// quoteSize is how much of a refused packet is quoted, in bytes. That is more than
// the 8 bytes behind the IP header that RFC 792 asks for, and far below any MTU.
const quoteSize = 512

// refuse tells the guest that its packet, of which quote is the beginning from the
// IP header on, was refused. The gateway says so.
func (n *Network) refuse(quote []byte, why refusal) {
	quote = quote[:min(len(quote), quoteSize)]
	if quote[0]>>4 == 4 {
		b := make([]byte, header.ICMPv4MinimumSize+len(quote))
		copy(b[header.ICMPv4MinimumSize:], quote)
		icmp := header.ICMPv4(b)
		icmp.SetType(header.ICMPv4DstUnreachable)
		icmp.SetCode([...]header.ICMPv4Code{
			prohibited:      header.ICMPv4AdminProhibited,
			portUnreachable: header.ICMPv4PortUnreachable,
			hostUnreachable: header.ICMPv4HostUnreachable,
		}[why])
		n.sendICMP(n.layout.Gateway4, b)
		return
	}
	b := make([]byte, header.ICMPv6DstUnreachableMinimumSize+len(quote))
	copy(b[header.ICMPv6DstUnreachableMinimumSize:], quote)
	icmp := header.ICMPv6(b)
	icmp.SetType(header.ICMPv6DstUnreachable)
	icmp.SetCode([...]header.ICMPv6Code{
		prohibited:      header.ICMPv6Prohibited,
		portUnreachable: header.ICMPv6PortUnreachable,
		hostUnreachable: header.ICMPv6AddressUnreachable,
	}[why])
	n.sendICMP(n.layout.Gateway6, b)
}

// sendICMP fills the checksum of a message and sends it to the guest.
func (n *Network) sendICMP(src netip.Addr, b []byte) {
	dst := n.layout.guestFor(src)
	if src.Is4() {
		icmp := header.ICMPv4(b)
		icmp.SetChecksum(0)
		icmp.SetChecksum(^checksum.Checksum(b, 0))
		n.send(src, dst, header.ICMPv4ProtocolNumber, b, nil)
		return
	}
	icmp := header.ICMPv6(b)
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: icmp, Src: fromNetip(src), Dst: fromNetip(dst),
	}))
	n.send(src, dst, header.ICMPv6ProtocolNumber, b, nil)
}

// quoteUDP makes up the beginning of a datagram that the guest sent: enough for the
// guest to tell which.
func quoteUDP(src, dst netip.AddrPort) []byte {
	var b []byte
	if src.Addr().Is4() {
		b = make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize)
		ip := header.IPv4(b)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), TTL: ttl, Protocol: uint8(header.UDPProtocolNumber),
			SrcAddr: fromNetip(src.Addr()), DstAddr: fromNetip(dst.Addr()),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
	} else {
		b = make([]byte, header.IPv6MinimumSize+header.UDPMinimumSize)
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength: header.UDPMinimumSize, TransportProtocol: header.UDPProtocolNumber, HopLimit: ttl,
			SrcAddr: fromNetip(src.Addr()), DstAddr: fromNetip(dst.Addr()),
		})
	}
	header.UDP(b[len(b)-header.UDPMinimumSize:]).Encode(&header.UDPFields{
		SrcPort: src.Port(), DstPort: dst.Port(), Length: header.UDPMinimumSize,
	})
	return b
}
