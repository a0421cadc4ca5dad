package usernet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/holtvm/holt/internal/netframe"
)

// frame puts an Ethernet header of the guest in front of a packet.
func (g *guest) frame(etherType uint16, packet []byte) []byte {
	l := &g.network.layout
	b := append(append([]byte(nil), l.GatewayMAC...), l.GuestMAC...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, packet...)
}

func (g *guest) transmit(frame []byte) {
	g.network.Transmit(netframe.Frame{Parts: [][]byte{frame}})
}

// arp makes a request of the guest.
func (g *guest) arp(sender, target string) []byte {
	b := make([]byte, header.ARPSize)
	a := header.ARP(b)
	a.SetIPv4OverEthernet()
	a.SetOp(header.ARPRequest)
	copy(a.HardwareAddressSender(), g.network.layout.GuestMAC)
	copy(a.ProtocolAddressSender(), netip.MustParseAddr(sender).AsSlice())
	copy(a.ProtocolAddressTarget(), netip.MustParseAddr(target).AsSlice())
	return g.frame(uint16(header.ARPProtocolNumber), b)
}

// solicit makes a neighbor solicitation of the guest.
func (g *guest) solicit(sender, target string) []byte {
	b := make([]byte, header.IPv6MinimumSize+header.ICMPv6NeighborSolicitMinimumSize)
	src, dst := fromNetip(netip.MustParseAddr(sender)), fromNetip(netip.MustParseAddr(target))
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: header.ICMPv6NeighborSolicitMinimumSize, TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit: 255, SrcAddr: src, DstAddr: header.SolicitedNodeAddr(dst),
	})
	icmp := header.ICMPv6(b[header.IPv6MinimumSize:])
	icmp.SetType(header.ICMPv6NeighborSolicit)
	header.NDPNeighborSolicit(icmp.MessageBody()).SetTargetAddress(dst)
	return g.frame(uint16(header.IPv6ProtocolNumber), b)
}

func (g *guest) ping(src, dst string, size int) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	message := make([]byte, echoHeader+size)
	icmp := header.ICMPv4(message)
	icmp.SetIdent(77)
	icmp.SetSequence(3)
	for i := range size {
		message[echoHeader+i] = byte(i)
	}
	if from.Is4() {
		icmp.SetType(header.ICMPv4Echo)
		icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
		b := make([]byte, header.IPv4MinimumSize)
		header.IPv4(b).Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b) + len(message)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
			SrcAddr: fromNetip(from), DstAddr: fromNetip(to),
		})
		header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
		return g.frame(uint16(header.IPv4ProtocolNumber), append(b, message...))
	}
	message[0] = v6Request
	b := make([]byte, header.IPv6MinimumSize)
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(message)), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 64,
		SrcAddr: fromNetip(from), DstAddr: fromNetip(to),
	})
	return g.frame(uint16(header.IPv6ProtocolNumber), append(b, message...))
}

func TestNeighbors(t *testing.T) {
	g := newGuest(t, testConfig())
	frames := g.listen()
	tests := []struct {
		sender, target string
		answered       bool
	}{
		{"10.0.2.15", "10.0.2.1", true},
		{"10.0.2.15", "10.0.2.2", true},
		{"10.0.2.15", "10.0.2.200", true}, // nobody, but refused at once
		{"10.0.2.15", "10.0.2.15", false}, // itself
		{"0.0.0.0", "10.0.2.15", false},   // whether its address is free
		{"0.0.0.0", "10.0.2.200", false},
		{"0.0.0.0", "10.0.2.1", true},
		{"10.0.2.15", "10.0.2.255", false},
		{"10.0.2.15", "10.0.3.1", false},
		{"fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::1", true},
		{"fe80::1234", "fd68:6f6c:7400::2", true},
		{"fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::77", true},
		{"fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::a00:20f", false},
		{"::", "fd68:6f6c:7400::a00:20f", false},
		{"::", "fd68:6f6c:7400::1", true},
		{"::", "fe80::1234", false},
		{"fd68:6f6c:7400::a00:20f", "2001:db8::1", false},
	}
	for _, test := range tests {
		v4 := netip.MustParseAddr(test.target).Is4()
		if v4 {
			g.transmit(g.arp(test.sender, test.target))
		} else {
			g.transmit(g.solicit(test.sender, test.target))
		}
		if !test.answered {
			select {
			case f := <-frames:
				t.Errorf("%s asks for %s: answered with %x", test.sender, test.target, f)
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		packet := next(t, frames)[netframe.HeaderSize:]
		if v4 {
			a := header.ARP(packet)
			if a.Op() != header.ARPReply || !bytes.Equal(a.HardwareAddressSender(), g.network.layout.GatewayMAC) ||
				toNetip(tcpip.AddrFromSlice(a.ProtocolAddressSender())) != netip.MustParseAddr(test.target) {
				t.Errorf("%s asks for %s: got %x", test.sender, test.target, packet)
			}
			continue
		}
		ip := header.IPv6(packet)
		icmp := header.ICMPv6(ip.Payload())
		advert := header.NDPNeighborAdvert(icmp.MessageBody())
		sum := icmp.Checksum()
		right := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: ip.SourceAddress(), Dst: ip.DestinationAddress()})
		if icmp.Type() != header.ICMPv6NeighborAdvert || toNetip(advert.TargetAddress()) != netip.MustParseAddr(test.target) || sum != right {
			t.Errorf("%s asks for %s: got %x", test.sender, test.target, packet)
		}
	}
}

// TestSpoofed sends frames that only another machine could send.
func TestSpoofed(t *testing.T) {
	g := newGuest(t, testConfig())
	frames := g.listen()
	foreignMAC := g.ping("10.0.2.15", "10.0.2.1", 8)
	foreignMAC[11]++
	foreignARP := g.arp("10.0.2.15", "10.0.2.1")
	foreignARP[netframe.HeaderSize+13]++ // the sender's hardware address in the packet
	for name, frame := range map[string][]byte{
		"MAC":          foreignMAC,
		"IPv4":         g.ping("10.0.2.16", "10.0.2.1", 8),
		"gateway":      g.ping("10.0.2.1", "10.0.2.1", 8),
		"IPv4 public":  g.ping("192.0.2.1", "10.0.2.1", 8),
		"IPv4 host":    g.ping("127.0.0.1", "10.0.2.1", 8),
		"IPv6":         g.ping("fd68:6f6c:7400::5", "fd68:6f6c:7400::1", 8),
		"IPv6 mapped":  g.ping("::ffff:10.0.2.15", "fd68:6f6c:7400::1", 8),
		"ARP address":  g.arp("10.0.2.16", "10.0.2.1"),
		"ARP hardware": foreignARP,
		"neighbor":     g.solicit("fd68:6f6c:7400::5", "fd68:6f6c:7400::1"),
	} {
		before := g.network.Stats().Spoofed
		g.transmit(frame)
		if after := g.network.Stats().Spoofed; after != before+1 {
			t.Errorf("%s: passes", name)
		}
	}
	select {
	case f := <-frames:
		t.Errorf("answered with %x", f)
	case <-time.After(20 * time.Millisecond):
	}
}

func TestEchoRequests(t *testing.T) {
	g := newGuest(t, testConfig())
	frames := g.listen()
	for _, test := range []struct{ src, dst string }{
		{"10.0.2.15", "10.0.2.1"},
		{"10.0.2.15", "10.0.2.2"},
		{"10.0.2.15", "127.0.0.1"}, // through a socket of the host
		{"fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::1"},
		{"fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::2"},
		{"fd68:6f6c:7400::a00:20f", "::1"},
	} {
		if dst := netip.MustParseAddr(test.dst); dst.IsLoopback() {
			c, _, err := dialEcho(dst, 1)
			if err != nil {
				t.Logf("%s is left out: %v", dst, err)
				continue
			}
			c.Close()
		}
		for _, size := range []int{0, 56, 9000} {
			request := g.ping(test.src, test.dst, size)
			g.transmit(request)
			packet := next(t, frames)[netframe.HeaderSize:]
			var src, message []byte
			want := byte(header.ICMPv4EchoReply)
			sent := request[netframe.HeaderSize:]
			if packet[0]>>4 == 4 {
				src, message, sent = packet[12:16], packet[20:], sent[20:]
				if header.ICMPv4Checksum(message, 0) != header.ICMPv4(message).Checksum() {
					t.Errorf("%s: wrong checksum", test.dst)
				}
			} else {
				src, message, sent = packet[8:24], packet[40:], sent[40:]
				want = v6Reply
			}
			if a, _ := netip.AddrFromSlice(src); a != netip.MustParseAddr(test.dst) {
				t.Errorf("%s: %s answers", test.dst, a)
			}
			if message[0] != want || !bytes.Equal(message[4:], sent[4:]) {
				t.Errorf("%s, %d bytes: got %x", test.dst, size, message[:8])
			}
		}
	}
}

// TestMalformed sends truncated frames of each kind.
func TestMalformed(t *testing.T) {
	g := newGuest(t, testConfig())
	dst := netip.MustParseAddrPort("10.0.2.1:99")
	dst6 := netip.MustParseAddrPort("[fd68:6f6c:7400::1]:99")
	flat := func(f netframe.Frame) []byte { return bytes.Join(f.Parts, nil) }
	for _, frame := range [][]byte{
		g.arp("10.0.2.15", "10.0.2.1"),
		g.solicit("fe80::1", "fd68:6f6c:7400::1"),
		g.ping("10.0.2.15", "10.0.2.1", 8),
		g.ping("fd68:6f6c:7400::a00:20f", "fd68:6f6c:7400::1", 8),
		flat(g.datagram(dst, []byte("hello"), netframe.Offload{})),
		flat(g.datagram(dst6, []byte("hello"), netframe.Offload{})),
	} {
		for size := range len(frame) {
			before := g.network.Stats()
			g.transmit(frame[:size])
			if after := g.network.Stats(); after.Malformed != before.Malformed+1 {
				t.Errorf("%d bytes of %x are taken", size, frame)
			}
		}
	}
	g.transmit(make([]byte, netframe.MaxSize+1))
}
