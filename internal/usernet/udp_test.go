package usernet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// serveUDP runs an echo server on the loopback and returns its address for the
// guest.
func (g *guest) serveUDP(t testing.TB, v6 bool) netip.AddrPort {
	t.Helper()
	at, seen := "127.0.0.1:0", g.network.layout.Host4
	if v6 {
		at, seen = "[::1]:0", g.network.layout.Host6
	}
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:n], from)
		}
	}()
	return netip.AddrPortFrom(seen, c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

func (g *guest) dialUDP(t testing.TB, to netip.AddrPort) *gonet.UDPConn {
	t.Helper()
	addr := full(to)
	c, err := gonet.DialUDP(g.stack, nil, &addr, version(to.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func TestUDPEcho(t *testing.T) {
	g := newGuest(t, testConfig())
	for _, v6 := range []bool{false, true} {
		c := g.dialUDP(t, g.serveUDP(t, v6))
		// The last do not fit the MTU: they come and go in fragments.
		for _, size := range []int{0, 1, 1000, 9000, 65400, 65480, 65507} {
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Fatalf("IPv6 %v: send %d bytes: %v", v6, size, err)
			}
			b := make([]byte, 1<<16)
			if n, err := c.Read(b); err != nil || n != size {
				t.Errorf("IPv6 %v: got %d of %d bytes: %v", v6, n, size, err)
			}
		}
	}
	if s := g.network.Stats(); s.Flows != 2 {
		t.Errorf("%d flows are counted", s.Flows)
	}
}

func TestUDPRefused(t *testing.T) {
	g := newGuest(t, testConfig())
	for _, to := range []string{"10.0.2.2:1", "[fd68:6f6c:7400::2]:1", "10.0.2.1:80", "[fd68:6f6c:7400::1]:80"} {
		c := g.dialUDP(t, netip.MustParseAddrPort(to))
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		// A waiting reader is not told of it: look again and again.
		var err error
		for start := time.Now(); time.Since(start) < 5*time.Second; {
			c.SetDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err = c.Read(make([]byte, 10)); err != nil && strings.Contains(err.Error(), "refused") {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestDenied(t *testing.T) {
	config := testConfig()
	config.Policy = policy.New(policy.ModePublic, nil, policy.Options{})
	g := newGuest(t, config)
	for _, to := range []string{"10.0.2.2:1", "[fd68:6f6c:7400::2]:1", "10.1.2.3:80", "[fe80::1]:80", "169.254.169.254:80"} {
		start := time.Now()
		if _, err := g.tryDial(netip.MustParseAddrPort(to)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", to, err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: denied after %v", to, d)
		}
	}
	denied := uint64(0)
	for reason, n := range g.network.Stats().Denied {
		t.Logf("%q: %d", reason, n)
		denied += n
	}
	if denied != 5 {
		t.Errorf("%d are counted", denied)
	}

	frames := g.listen()
	for _, to := range []string{"10.1.2.3:80", "[2001:db8::1]:80"} {
		dst := netip.MustParseAddrPort(to)
		g.network.Transmit(g.datagram(dst, []byte("hello"), netframe.Offload{}))
		packet := next(t, frames)[netframe.HeaderSize:]
		if dst.Addr().Is4() {
			ip := header.IPv4(packet)
			icmp := header.ICMPv4(ip.Payload())
			if icmp.Type() != header.ICMPv4DstUnreachable || icmp.Code() != header.ICMPv4AdminProhibited || header.ICMPv4Checksum(icmp, 0) != icmp.Checksum() {
				t.Errorf("%s: got %x", to, packet)
			}
			if quoted := header.IPv4(icmp.Payload()); toNetip(quoted.DestinationAddress()) != dst.Addr() {
				t.Errorf("%s: %v is quoted", to, quoted.DestinationAddress())
			}
			continue
		}
		icmp := header.ICMPv6(header.IPv6(packet).Payload())
		if icmp.Type() != header.ICMPv6DstUnreachable || icmp.Code() != header.ICMPv6Prohibited {
			t.Errorf("%s: got %x", to, packet)
		}
	}
}

// next returns the next frame to the guest.
func next(t testing.TB, frames <-chan []byte) []byte {
	t.Helper()
	select {
	case f := <-frames:
		return f
	case <-time.After(5 * time.Second):
		t.Fatal("no frame arrives")
		return nil
	}
}

// datagram makes a frame of the guest with a datagram from port 4000.
func (g *guest) datagram(dst netip.AddrPort, payload []byte, o netframe.Offload) netframe.Frame {
	l := &g.network.layout
	src := netip.AddrPortFrom(l.guestFor(dst.Addr()), 4000)
	b := quoteUDP(src, dst)
	size := header.UDPMinimumSize + len(payload)
	if dst.Addr().Is4() {
		ip := header.IPv4(b)
		ip.SetTotalLength(uint16(header.IPv4MinimumSize + size))
		ip.SetChecksum(0)
		ip.SetChecksum(^ip.CalculateChecksum())
	} else {
		header.IPv6(b).SetPayloadLength(uint16(size))
	}
	binary.BigEndian.PutUint16(b[len(b)-4:], uint16(size))
	eth := make([]byte, netframe.HeaderSize)
	copy(eth, l.GatewayMAC)
	copy(eth[6:], l.GuestMAC)
	binary.BigEndian.PutUint16(eth[12:], uint16(version(dst.Addr())))
	return netframe.Frame{Parts: [][]byte{eth, b, payload}, Offload: o}
}

// TestUDPSegments sends several datagrams in one frame.
func TestUDPSegments(t *testing.T) {
	g := newGuest(t, testConfig())
	to := g.serveUDP(t, false)
	frames := g.listen()
	payload := make([]byte, 2500)
	g.network.Transmit(g.datagram(to, payload, netframe.Offload{
		NeedsChecksum: true, ChecksumStart: 34, ChecksumOffset: 6, Segment: netframe.UDP, SegmentSize: 1000, HeaderLen: 42,
	}))
	for _, want := range []int{1000, 1000, 500} {
		ip := header.IPv4(next(t, frames)[netframe.HeaderSize:])
		if got := len(header.UDP(ip.Payload()).Payload()); got != want {
			t.Errorf("a datagram has %d bytes", got)
		}
	}
}

var noOffload netframe.Offload
