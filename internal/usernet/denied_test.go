package usernet

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// TestLoopbackAddress sends to the loopback's own addresses, which no kernel would
// send to a card.
func TestLoopbackAddress(t *testing.T) {
	for _, mode := range []policy.Mode{policy.ModePublic, policy.ModeAll} {
		config := testConfig()
		config.Policy = policy.New(mode, nil, policy.Options{})
		g := newGuest(t, config)
		at := g.serveTCP(t, false, echoTCP)
		frames := g.listen()
		g.transmit(g.syn(5000, netip.AddrPortFrom(loopback4, at.Port())))
		flags := header.TCP(header.IPv4(next(t, frames)[netframe.HeaderSize:]).Payload()).Flags()
		if allowed := mode == policy.ModeAll; allowed != flags.Contains(header.TCPFlagSyn) || allowed == flags.Contains(header.TCPFlagRst) {
			t.Errorf("mode %v: the guest gets %v", mode, flags)
		}
		if mode == policy.ModePublic {
			g.network.Transmit(g.datagram(netip.AddrPortFrom(loopback6, 80), []byte("hello"), noOffload))
			if icmp := header.ICMPv6(header.IPv6(next(t, frames)[netframe.HeaderSize:]).Payload()); icmp.Code() != header.ICMPv6Prohibited {
				t.Errorf("the guest gets %x", icmp)
			}
		}
	}
}

// blackHole is a port of the loopback that answers nobody: its backlog is full.
func blackHole(t testing.TB) uint16 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback4.As4()}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, _ := unix.Getsockname(fd)
	port := sa.(*unix.SockaddrInet4).Port
	for {
		c, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", port), 200*time.Millisecond)
		if err != nil {
			return uint16(port)
		}
		t.Cleanup(func() { c.Close() })
	}
}

// TestDeniedAmidHandshakes asks for what the policy denies while as many
// connections are in the making as there may be.
func TestDeniedAmidHandshakes(t *testing.T) {
	config := testConfig()
	rule, _ := policy.ParseRule("deny 10.1.2.3")
	config.Policy = policy.New(policy.ModeAll, []policy.Rule{rule}, policy.Options{})
	g := newGuest(t, config)
	to := netip.AddrPortFrom(g.network.layout.Host4, blackHole(t))
	for i := range 3 * maxHandshakes {
		g.transmit(g.syn(uint16(1000+i), to))
	}
	if !eventually(func() bool { return len(g.network.handshakes) == maxHandshakes }) {
		t.Fatalf("%d connections are in the making", len(g.network.handshakes))
	}
	within(t, time.Second, func() {
		if _, err := g.tryDial(netip.MustParseAddrPort("10.1.2.3:80")); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("the guest sees %v", err)
		}
	})
}
