package usernet

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// Echo messages of ICMP and ICMPv6 differ in their types only.
const (
	echoHeader  = header.ICMPv4MinimumSize
	echoRequest = byte(header.ICMPv4Echo)
	echoReply   = byte(header.ICMPv4EchoReply)
	v6Request   = byte(header.ICMPv6EchoRequest)
	v6Reply     = byte(header.ICMPv6EchoReply)
)

// answerEcho deals with an echo request that the gate let through: gateway and host
// answer from here, others are asked through a socket of the host.
func (n *Network) answerEcho(frame []byte) {
	packet := frame[netframe.HeaderSize:]
	dst, message := splitEcho(packet)
	if n.layout.gateway(dst) {
		n.echoBack(dst, message)
		return
	}
	key := flowKey{policy.ICMP, header.ICMPv4(message).Ident(), netip.AddrPortFrom(dst, 0)}
	f := n.flows.get(key)
	if f == nil {
		target, verdict := n.resolve(policy.ICMP, key.remote)
		switch {
		case !verdict.Allow:
			n.denied(policy.ICMP, target, verdict.Reason)
			n.refuse(packet, prohibited)
			return
		case n.layout.host(dst):
			n.echoBack(dst, message)
			return
		}
		conn, filter, err := dialEcho(target.Addr(), key.guest)
		if err != nil {
			n.failed(policy.ICMP, target, err)
			n.refuse(packet, hostUnreachable)
			return
		}
		if f = n.flows.open(key, target, conn, filter); f == nil {
			return
		}
	}
	// A target that is an IPv4-mapped address is asked in IPv4.
	request := append([]byte(nil), message...)
	request[0] = echoRequest
	if f.target.Addr().Is6() {
		request[0] = v6Request
	}
	header.ICMPv4(request).SetChecksum(0)
	if f.target.Addr().Is4() {
		header.ICMPv4(request).SetChecksum(header.ICMPv4Checksum(request, 0))
	}
	if err := f.send(request); err != nil {
		n.flowError(f, err)
	}
}

// splitEcho returns the destination and the message of a packet with an echo
// request.
func splitEcho(packet []byte) (dst netip.Addr, message []byte) {
	if packet[0]>>4 == 4 {
		ip := header.IPv4(packet)
		return toNetip(ip.DestinationAddress()), packet[ip.HeaderLength():ip.TotalLength()]
	}
	ip := header.IPv6(packet)
	return toNetip(ip.DestinationAddress()), packet[header.IPv6MinimumSize:][:ip.PayloadLength()]
}

// echoBack answers a request in the name of src.
func (n *Network) echoBack(src netip.Addr, request []byte) {
	reply := append([]byte(nil), request...)
	reply[0], reply[1] = echoReply, 0
	if src.Is6() {
		reply[0] = v6Reply
	}
	n.sendICMP(src, reply)
}

// relayEcho passes a message of a flow's remote on to the guest if it is a reply.
func (n *Network) relayEcho(f *flow, b []byte) {
	if f.filter != nil {
		var ours bool
		if b, ours = f.filter(b); !ours {
			return
		}
	}
	want := echoReply
	if f.target.Addr().Is6() {
		want = v6Reply
	}
	if len(b) < echoHeader || b[0] != want {
		return
	}
	// The kernel has put in an identifier of its own.
	header.ICMPv4(b).SetIdent(f.key.guest)
	n.echoBack(f.key.remote.Addr(), b)
}
