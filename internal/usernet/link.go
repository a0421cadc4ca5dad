package usernet

import (
	"math"
	"net"
	"sync/atomic"

	"github.com/holtvm/holt/internal/netframe"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// gsoSize is the largest packet that the stack leaves uncut, in bytes with its IP
// header. The stack counts headers in, and a byte more would not fit the length
// field of IPv4.
const gsoSize = math.MaxUint16

// link is the stack's end of the cable: a stack.GSOEndpoint that hands packets to
// the queue. There is one guest at the other end, so that no address has to be
// resolved.
type link struct {
	mac, peer  tcpip.LinkAddress
	mtu        uint32
	queue      *queue
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var _ stack.GSOEndpoint = (*link)(nil)

func newLink(mac, peer net.HardwareAddr, mtu int, q *queue) *link {
	return &link{mac: tcpip.LinkAddress(mac), peer: tcpip.LinkAddress(peer), mtu: uint32(mtu), queue: q}
}

// deliver hands an IP packet of the guest to the stack. The frame's header is
// consumed.
func (l *link) deliver(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	if d := l.dispatcher.Load(); d != nil {
		(*d).DeliverNetworkPacket(protocol, pkt)
	}
}

// WritePackets puts packets of the stack into the queue.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		l.queue.add(pkt.IncRef(), leaveChecksum(pkt))
	}
	return pkts.Len(), nil
}

// leaveChecksum prepares the transport checksum of a packet for the guest to
// finish, which does not look at it at all, and describes what is left to do.
func leaveChecksum(pkt *stack.PacketBuffer) (o netframe.Offload) {
	var protocol tcpip.TransportProtocolNumber
	network, transport := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	kind := netframe.TCP4
	switch pkt.NetworkProtocolNumber {
	case header.IPv4ProtocolNumber:
		ip := header.IPv4(network)
		if ip.More() || ip.FragmentOffset() != 0 {
			return o
		}
		protocol = ip.TransportProtocol()
	case header.IPv6ProtocolNumber:
		kind = netframe.TCP6
		protocol = tcpip.TransportProtocolNumber(header.IPv6(network).NextHeader())
	}
	var at uint16
	switch {
	case protocol == header.TCPProtocolNumber && len(transport) >= header.TCPMinimumSize:
		at = header.TCPChecksumOffset
	case protocol == header.UDPProtocolNumber && len(transport) == header.UDPMinimumSize:
		at = udpChecksumOffset
	default:
		return o
	}
	size := pkt.Data().Size()
	ip := pkt.Network()
	sum := header.PseudoHeaderChecksum(protocol, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(transport)+size))
	transport[at], transport[at+1] = byte(sum>>8), byte(sum)
	o.NeedsChecksum = true
	o.ChecksumStart = uint16(netframe.HeaderSize + len(network))
	o.ChecksumOffset = at
	if mss := int(pkt.GSOOptions.MSS); pkt.GSOOptions.Type != stack.GSONone && mss > 0 && size > mss {
		o.Segment, o.SegmentSize = kind, uint16(mss)
		o.HeaderLen = o.ChecksumStart + uint16(len(transport))
	}
	return o
}

// udpChecksumOffset is where a UDP header's checksum is, in bytes (RFC 768).
const udpChecksumOffset = 6

// AddHeader puts the Ethernet header in front of a packet to the guest.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.mac,
		DstAddr: l.peer,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader consumes the Ethernet header of a frame.
func (*link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach connects the stack, or disconnects it if d is nil.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// IsAttached reports whether the stack is connected.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// MTU is the largest packet, in bytes.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU does nothing: the guest was told the MTU.
func (*link) SetMTU(uint32) {}

// MaxHeaderLength is the size of the Ethernet header, in bytes.
func (*link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress is the gateway's hardware address.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.mac }

// SetLinkAddress does nothing: the guest was told the address.
func (*link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities says that checksums need not be looked at: nothing between guest
// and stack could damage a packet.
func (*link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityTXChecksumOffload | stack.CapabilityRXChecksumOffload
}

// GSOMaxSize is the largest packet, in bytes.
func (*link) GSOMaxSize() uint32 { return gsoSize }

// SupportedGSO says that the guest takes large segments.
func (*link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// ARPHardwareType is Ethernet.
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Wait returns at once: there are no goroutines here.
func (*link) Wait() {}

// Close does nothing: the queue outlives the stack.
func (*link) Close() {}

// SetOnCloseAction does nothing, as Close.
func (*link) SetOnCloseAction(func()) {}
