package usernet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// A guest that goes on from a snapshot has connections that its new network knows
// nothing of.

// move closes the guest's network and plugs it into a fresh one.
func (g *guest) move(t testing.TB, config Config) {
	t.Helper()
	old := g.network
	g.queue.attach(nil)
	old.Attach(nil) // it must not tell the guest of its end
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	n, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	g.plug(n)
}

// wasReset fails the test unless the guest's program learns soon that its connection is
// gone, when it uses it.
func wasReset(t *testing.T, what string, c net.Conn) {
	t.Helper()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("anybody there?")); err != nil {
		t.Errorf("%s: write: %v", what, err)
	}
	_, err := c.Read(make([]byte, 100))
	if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "reset") {
		t.Errorf("%s: read: %v", what, err)
	}
}

// TestMoveTCP: connections that the guest made, and those that were made to it, are
// reset when it uses them, and new ones work.
func TestMoveTCP(t *testing.T) {
	config := testConfig()
	config.DNS = upperCase{}
	port := freePort(t)
	config.Forwards = []Forward{{policy.TCP, netip.AddrPortFrom(netip.IPv6Loopback(), port), 80}}
	g := newGuest(t, config)
	fromHost := make(chan net.Conn, 4)
	for _, a := range []netip.Addr{g.network.layout.Guest4.Addr(), g.network.layout.Guest6.Addr()} {
		l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(a, 80)), version(a))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Shutdown)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fromHost <- c
			}
		}()
	}
	published := func() (inside net.Conn, outside net.Conn) {
		t.Helper()
		outside, err := net.Dial("tcp", fmt.Sprintf("[::1]:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { outside.Close() })
		select {
		case inside = <-fromHost:
		case <-time.After(10 * time.Second):
			t.Fatal("the guest gets no published connection")
		}
		return inside, outside
	}
	servers := []netip.AddrPort{g.serveTCP(t, false, echoTCP), g.serveTCP(t, true, echoTCP)}
	var mine []net.Conn
	for _, to := range append(servers, netip.MustParseAddrPort("10.0.2.1:53")) {
		mine = append(mine, g.dial(t, to))
	}
	inside, outside := published()

	g.move(t, config)
	for i, c := range mine {
		wasReset(t, fmt.Sprintf("connection %d of the guest", i), c)
	}
	wasReset(t, "published connection", inside)
	outside.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := outside.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the host's end of it: %v", err)
	}
	for _, to := range servers {
		c := g.dial(t, to)
		c.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(c, "hello")
		c.CloseWrite()
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
			t.Errorf("a new connection to %s: %q, %v", to, b, err)
		}
	}
	inside, outside = published()
	go fmt.Fprint(outside, "hello")
	b := make([]byte, 5)
	if _, err := io.ReadFull(inside, b); err != nil || string(b) != "hello" {
		t.Errorf("a new published connection: %q, %v", b, err)
	}
}

// TestMoveUDP: sockets that the guest has had go on, DNS among them.
func TestMoveUDP(t *testing.T) {
	config := testConfig()
	config.DNS = upperCase{}
	g := newGuest(t, config)
	var socks []*gonet.UDPConn
	ask := func(c *gonet.UDPConn, want string) {
		t.Helper()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte("hello"))
		b := make([]byte, 100)
		if n, err := c.Read(b); err != nil || string(b[:n]) != want {
			t.Errorf("got %q, %v", b[:n], err)
		}
	}
	for _, to := range []netip.AddrPort{g.serveUDP(t, false), g.serveUDP(t, true)} {
		c := g.dialUDP(t, to)
		ask(c, "hello")
		socks = append(socks, c)
	}
	resolver := g.dialUDP(t, netip.MustParseAddrPort("10.0.2.1:53"))
	ask(resolver, "udp hello")
	g.move(t, config)
	for _, c := range socks {
		ask(c, "hello")
	}
	ask(resolver, "udp hello")
}

// TestMAC: a network has the hardware address that it is given, and no other.
func TestMAC(t *testing.T) {
	config := testConfig()
	config.MAC = net.HardwareAddr{0x02, 0x11, 0x22, 0x33, 0x44, 0x55}
	g := newGuest(t, config)
	if got := g.network.Guest().MAC.String(); got != config.MAC.String() {
		t.Errorf("the guest is told %s", got)
	}
	c := g.dial(t, g.serveTCP(t, false, echoTCP))
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "hello")
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	frames := g.listen()
	g.transmit(g.arp("10.0.2.15", "10.0.2.1"))
	if f := <-frames; net.HardwareAddr(f[:6]).String() != config.MAC.String() || net.HardwareAddr(f[32:38]).String() != config.MAC.String() {
		t.Errorf("answered with %x", f)
	}
	// The guest that it is a copy of had another.
	plan, err := Plan(config.Address)
	if err != nil {
		t.Fatal(err)
	}
	former := bytes.ReplaceAll(g.arp("10.0.2.15", "10.0.2.1"), config.MAC, plan.GuestMAC)
	before := g.network.Stats().Spoofed
	for range 1000 {
		g.transmit(former)
	}
	if got := g.network.Stats().Spoofed - before; got != 1000 {
		t.Errorf("%d frames are counted", got)
	}
	select {
	case f := <-frames:
		t.Errorf("answered with %x", f)
	case <-time.After(20 * time.Millisecond):
	}
}

func TestBadMAC(t *testing.T) {
	plan, err := Plan(testConfig().Address)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []net.HardwareAddr{
		{}, {2, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 0, 0}, {3, 0, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 0, 0, 0}, plan.GatewayMAC,
	} {
		config := testConfig()
		config.MAC = bad
		if n, err := New(config); err == nil || !strings.Contains(err.Error(), "hardware address "+bad.String()) {
			t.Errorf("%s: %v", bad, err)
			if n != nil {
				n.Close()
			}
		}
	}
}
