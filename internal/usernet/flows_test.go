package usernet

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// TestFlowsExpire makes flows look old.
func TestFlowsExpire(t *testing.T) {
	g := newGuest(t, testConfig())
	answering, silent := g.serveUDP(t, false), netip.AddrPortFrom(g.network.layout.Host4, freePort(t))
	c := g.dialUDP(t, answering)
	c.Write([]byte("hello"))
	c.Read(make([]byte, 10))
	g.network.Transmit(g.datagram(silent, []byte("hello"), noOffload))
	flows := g.network.flows
	all := func() (fs []*flow) {
		flows.mu.Lock()
		defer flows.mu.Unlock()
		for _, f := range flows.byKey {
			fs = append(fs, f)
		}
		return fs
	}
	if n := len(all()); n != 2 {
		t.Fatalf("%d flows", n)
	}
	for _, test := range []struct {
		age  time.Duration
		left int
	}{{flowUnanswered - time.Second, 2}, {flowUnanswered + time.Second, 1}, {flowIdle + time.Second, 0}} {
		for _, f := range all() {
			f.lastUsed.Store(time.Now().Add(-test.age).UnixNano())
			flows.expire(f)
		}
		if n := len(all()); n != test.left {
			t.Errorf("after %v %d flows are left", test.age, n)
		}
	}
	c.Write([]byte("again"))
	if _, err := c.Read(make([]byte, 10)); err != nil {
		t.Errorf("a new flow: %v", err)
	}
}

// TestRawEcho asks the loopback through a raw socket, which gets the requests and
// the replies of others too.
func TestRawEcho(t *testing.T) {
	for _, test := range []struct{ src, dst string }{
		{"10.0.2.15", "127.0.0.1"},
		{"fd68:6f6c:7400::a00:20f", "::1"},
	} {
		g := newGuest(t, testConfig())
		frames := g.listen()
		target := netip.MustParseAddr(test.dst)
		for _, ident := range []uint16{76, 77} { // 77 is what ping uses
			conn, filter, err := dialRawEcho(target, ident)
			if errors.Is(err, unix.EPERM) {
				t.Skip("raw sockets need privileges")
			}
			if err != nil {
				t.Fatal(err)
			}
			g.network.flows.open(flowKey{policy.ICMP, ident, netip.AddrPortFrom(target, 0)}, netip.AddrPortFrom(target, 0), conn, filter)
		}
		request := g.ping(test.src, test.dst, 56)
		g.transmit(request)
		reply := next(t, frames)[netframe.HeaderSize:]
		if !bytes.Equal(reply[len(reply)-60:], request[len(request)-60:]) {
			t.Errorf("%s: got %x", test.dst, reply)
		}
		select {
		case f := <-frames:
			t.Errorf("%s: %x is a reply to somebody else", test.dst, f)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestPeersExpire has more peers of a published port than there may be.
func TestPeersExpire(t *testing.T) {
	g, _ := publish(t, policy.UDP, 80)
	p := g.network.peers
	peerAt := func(i int) peerKey {
		return peerKey{nil, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i >> 8)}), uint16(i))}
	}
	seen := make(map[netip.AddrPort]bool)
	for i := range MaxFlows {
		seen[p.gatewayPort(peerAt(i), 80)] = true
	}
	if len(seen) != MaxFlows {
		t.Errorf("%d peers share %d ports", MaxFlows, len(seen))
	}
	first := p.gatewayPort(peerAt(0), 80)
	p.gatewayPort(peerAt(MaxFlows), 80) // takes the place of 1, as 0 was used since
	if again := p.gatewayPort(peerAt(0), 80); again != first || len(p.byKey) != MaxFlows || len(p.byGateway) != MaxFlows {
		t.Errorf("%d peers, and the first one has %s instead of %s", len(p.byKey), again, first)
	}
	if _, known := p.byKey[peerAt(1)]; known {
		t.Error("the one that was silent for longest is still there")
	}
}
