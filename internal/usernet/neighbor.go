package usernet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/holtvm/holt/internal/netframe"
)

// Every address of the guest's network but its own is answered for with the
// gateway's hardware address: connections to where nobody is are then refused at
// once, and do not wait for an answer that never comes.

// answerARP answers a request that the gate let through.
func (n *Network) answerARP(frame []byte) {
	request := header.ARP(frame[netframe.HeaderSize:])
	target := netip.AddrFrom4([4]byte(request.ProtocolAddressTarget()))
	if !n.answersFor(target, netip.AddrFrom4([4]byte(request.ProtocolAddressSender()))) {
		return
	}
	b := make([]byte, netframe.HeaderSize+header.ARPSize)
	n.layout.ethernet(b, uint16(header.ARPProtocolNumber))
	reply := header.ARP(b[netframe.HeaderSize:])
	reply.SetIPv4OverEthernet()
	reply.SetOp(header.ARPReply)
	copy(reply.HardwareAddressSender(), n.layout.GatewayMAC)
	copy(reply.ProtocolAddressSender(), request.ProtocolAddressTarget())
	copy(reply.HardwareAddressTarget(), n.layout.GuestMAC)
	copy(reply.ProtocolAddressTarget(), request.ProtocolAddressSender())
	n.sendFrame(b)
}

// answerNeighbor answers a neighbor solicitation that the gate let through
// (RFC 4861, 7.2.4).
func (n *Network) answerNeighbor(frame []byte) {
	packet := frame[netframe.HeaderSize:]
	asker := netip.AddrFrom16([16]byte(packet[8:24]))
	solicit := header.NDPNeighborSolicit(header.ICMPv6(packet[header.IPv6MinimumSize:]).MessageBody())
	target := solicit.TargetAddress()
	addr := netip.AddrFrom16(target.As16())
	if !n.answersFor(addr, asker) {
		return
	}
	const size = header.ICMPv6NeighborAdvertMinimumSize + header.NDPLinkLayerAddressSize
	b := make([]byte, netframe.HeaderSize+header.IPv6MinimumSize+size)
	n.layout.ethernet(b, uint16(header.IPv6ProtocolNumber))
	to := tcpip.AddrFrom16(asker.As16())
	if asker.IsUnspecified() {
		to = header.IPv6AllNodesMulticastAddress
	}
	ip := header.IPv6(b[netframe.HeaderSize:])
	ip.Encode(&header.IPv6Fields{
		PayloadLength:     size,
		TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit:          header.NDPHopLimit,
		SrcAddr:           target,
		DstAddr:           to,
	})
	icmp := header.ICMPv6(b[netframe.HeaderSize+header.IPv6MinimumSize:])
	icmp.SetType(header.ICMPv6NeighborAdvert)
	advert := header.NDPNeighborAdvert(icmp.MessageBody())
	advert.SetTargetAddress(target)
	advert.SetRouterFlag(n.layout.gateway(addr))
	advert.SetSolicitedFlag(!asker.IsUnspecified())
	advert.SetOverrideFlag(true)
	advert.Options().Serialize(header.NDPOptionsSerializer{
		header.NDPTargetLinkLayerAddressOption(n.layout.GatewayMAC),
	})
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: target, Dst: to}))
	n.sendFrame(b)
}

// answersFor reports whether asker gets an answer for target. Who has no address
// yet wants to take the target for itself.
func (n *Network) answersFor(target, asker netip.Addr) bool {
	if n.layout.gateway(target) || n.layout.host(target) {
		return true
	}
	return n.layout.neighbor(target) && !asker.IsUnspecified()
}

// sendFrame sends a whole frame to the guest.
func (n *Network) sendFrame(b []byte) {
	n.queue.add(stack.NewPacketBuffer(stack.PacketBufferOptions{
		Payload: buffer.MakeWithData(b),
	}), netframe.Offload{})
}
