package usernet

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// handleUDP deals with a datagram of the guest, or with several in one. It reports
// that it did.
func (n *Network) handleUDP(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	udp := header.UDP(pkt.TransportHeader().Slice())
	payload := pkt.Data().AsRange().ToSlice()
	if cut := int(pkt.GSOOptions.MSS); cut > 0 {
		for len(payload) > 0 {
			piece := payload[:min(cut, len(payload))]
			payload = payload[len(piece):]
			n.datagram(id, piece, pkt)
		}
		return true
	}
	size := int(udp.Length()) - header.UDPMinimumSize
	if size < 0 || size > len(payload) {
		n.counters.malformed.Add(1)
		return true
	}
	n.datagram(id, payload[:size], pkt)
	return true
}

// datagram sends a datagram of the guest to where it is for.
func (n *Network) datagram(id stack.TransportEndpointID, payload []byte, pkt *stack.PacketBuffer) {
	dst := netip.AddrPortFrom(toNetip(id.LocalAddress), id.LocalPort)
	switch {
	case n.dnsService(dst):
		n.answerDNS(netip.AddrPortFrom(toNetip(id.RemoteAddress), id.RemotePort), dst, payload)
		return
	case n.layout.gateway(dst.Addr()) && n.peers.fromGuest(dst, id.RemotePort, payload):
		return
	}
	key := flowKey{policy.UDP, id.RemotePort, dst}
	f := n.flows.get(key)
	if f == nil {
		target, verdict := n.resolve(policy.UDP, dst)
		if !verdict.Allow {
			n.denied(policy.UDP, target, verdict.Reason)
			why := prohibited
			if n.layout.gateway(dst.Addr()) {
				why = portUnreachable
			}
			n.refuse(quotePacket(pkt), why)
			return
		}
		conn, err := dialUDP(target)
		if err != nil {
			n.failed(policy.UDP, target, err)
			n.refuse(quotePacket(pkt), hostUnreachable)
			return
		}
		if f = n.flows.open(key, target, conn, nil); f == nil {
			return
		}
	}
	err := f.send(payload)
	if errors.Is(err, unix.ECONNREFUSED) {
		// That is about the datagram before: this one was not sent.
		n.flowError(f, err)
		err = f.send(payload)
	}
	if err != nil {
		n.flowError(f, err)
	}
}

// udpBuffer is what the host's UDP sockets are to hold, in bytes, if the host allows
// as much.
const udpBuffer = 1 << 20

// dialUDP makes a socket for target, without sending anything.
func dialUDP(target netip.AddrPort) (*net.UDPConn, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(target))
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(udpBuffer)
	return conn, nil
}

// quotePacket is the beginning of a packet of the guest, from the IP header on.
func quotePacket(pkt *stack.PacketBuffer) []byte {
	b := append([]byte(nil), pkt.NetworkHeader().Slice()...)
	b = append(b, pkt.TransportHeader().Slice()...)
	return append(b, pkt.Data().AsRange().Capped(quoteSize).ToSlice()...)
}
