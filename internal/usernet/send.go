package usernet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// nicID is the one interface of the stack.
const nicID tcpip.NICID = 1

// ttl is the time to live of what is sent, in hops.
const ttl = 64

func toNetip(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}

func fromNetip(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// version is the network protocol of an address.
func version(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// sendUDP sends a datagram to the guest. A payload that is too large for one is
// dropped.
func (n *Network) sendUDP(src, dst netip.AddrPort, payload []byte) {
	if header.UDPMinimumSize+len(payload) > header.UDPMaximumSize {
		return
	}
	n.send(src.Addr(), dst.Addr(), header.UDPProtocolNumber, payload, func(pkt *stack.PacketBuffer, r *stack.Route) {
		length := uint16(header.UDPMinimumSize + len(payload))
		udp := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
		udp.Encode(&header.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: length})
		if pkt.Size()+header.IPv6MinimumSize <= int(r.MTU()) {
			return // finished by leaveChecksum
		}
		// In fragments the checksum cannot be left to the guest.
		sum := r.PseudoHeaderChecksum(header.UDPProtocolNumber, length)
		sum = ^udp.CalculateChecksum(checksum.Combine(sum, pkt.Data().Checksum()))
		if sum == 0 {
			sum = 0xffff // zero would be no checksum (RFC 768)
		}
		udp.SetChecksum(sum)
	})
}

// send sends an IP packet to the guest, in fragments if it is larger than the MTU.
// Transport adds the transport header.
func (n *Network) send(src, dst netip.Addr, protocol tcpip.TransportProtocolNumber, payload []byte, transport func(*stack.PacketBuffer, *stack.Route)) {
	r, err := n.stack.FindRoute(nicID, fromNetip(src), fromNetip(dst), version(dst), false)
	if err != nil {
		return
	}
	defer r.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + header.UDPMinimumSize,
		Payload:            buffer.MakeWithView(buffer.NewViewWithData(payload)),
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = protocol
	if transport != nil {
		transport(pkt, r)
	}
	// What the stack cannot send is lost, as on any network.
	_ = r.WritePacket(stack.NetworkHeaderParams{Protocol: protocol, TTL: ttl}, pkt)
}
