package usernet

import (
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

// freePort returns a port that nobody uses.
func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// publish makes a guest with one published port.
func publish(t testing.TB, protocol policy.Protocol, guestPort uint16) (g *guest, port uint16) {
	t.Helper()
	port = freePort(t)
	config := testConfig()
	config.Forwards = []Forward{{protocol, netip.AddrPortFrom(netip.Addr{}, port), guestPort}}
	return newGuest(t, config), port
}

// echoInGuest serves a port of the guest, in IPv4 only unless v6.
func (g *guest) echoInGuest(t testing.TB, port uint16, v6 bool) {
	t.Helper()
	a := g.network.layout.Guest4.Addr()
	if v6 {
		a = g.network.layout.Guest6.Addr()
	}
	l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(a, port)), version(a))
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
			go func() {
				fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP, " ")
				io.Copy(c, c)
				c.(*gonet.TCPConn).CloseWrite()
			}()
		}
	}()
}

func TestPublishTCP(t *testing.T) {
	tests := []struct {
		name, host string
		servers    []bool // whether IPv6, each
		want       string
	}{
		{"IPv4", "127.0.0.1", []bool{false, true}, "10.0.2.1 hello"},
		{"IPv6", "::1", []bool{false, true}, "fd68:6f6c:7400::1 hello"},
		{"IPv6 to a server in IPv4 only", "::1", []bool{false}, "10.0.2.1 hello"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, port := publish(t, policy.TCP, 80)
			for _, v6 := range test.servers {
				g.echoInGuest(t, 80, v6)
			}
			c, err := net.Dial("tcp", net.JoinHostPort(test.host, fmt.Sprint(port)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			io.WriteString(c, "hello")
			c.(*net.TCPConn).CloseWrite()
			if b, err := io.ReadAll(c); err != nil || string(b) != test.want {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

func TestPublishRefused(t *testing.T) {
	_, port := publish(t, policy.TCP, 80)
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err == nil { // or else the reset came already
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			_, err = c.Read(make([]byte, 1))
		}
		if err == nil || !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestPublishUDP(t *testing.T) {
	g, port := publish(t, policy.UDP, 53)
	for _, host := range []string{"127.0.0.1", "::1"} {
		guestAddr := g.network.layout.guestFor(netip.MustParseAddr(host))
		at := full(netip.AddrPortFrom(guestAddr, 53))
		server, err := gonet.DialUDP(g.stack, &at, nil, version(guestAddr))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		go func() {
			b := make([]byte, 100)
			for {
				n, from, err := server.ReadFrom(b)
				if err != nil {
					return
				}
				server.WriteTo(append(b[:n], '!'), from)
			}
		}()
		for range 3 { // several peers
			c, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(port)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			for range 2 {
				io.WriteString(c, "hello")
				b := make([]byte, 100)
				if n, err := c.Read(b); err != nil || string(b[:n]) != "hello!" {
					t.Errorf("%s: got %q, %v", host, b[:n], err)
				}
			}
		}
	}
	if s := g.network.Stats(); s.Flows != 6 {
		t.Errorf("%d flows are counted", s.Flows)
	}
}

func TestPublishTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).AddrPort()
	free := freePort(t)
	config := testConfig()
	config.Forwards = []Forward{
		{policy.TCP, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), free), 1},
		{policy.TCP, taken, 2},
		{policy.TCP, netip.AddrPortFrom(netip.Addr{}, taken.Port()), 3},
		{policy.UDP, taken, 4},
		{policy.ICMP, taken, 5},
	}
	_, err = New(config)
	if err == nil {
		t.Fatal("a taken port is published")
	}
	want := fmt.Sprintf(`publish %[1]s/tcp: address already in use (is another program, or another VM, using that port?)
publish 0.0.0.0:%[2]d/tcp: address already in use (is another program, or another VM, using that port?)
publish %[1]s/icmp: only TCP and UDP ports can be published`, taken, taken.Port())
	if err.Error() != want {
		t.Errorf("got %s\nwant %s", err, want)
	}
	// What could be bound is free again.
	again, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", free))
	if err != nil {
		t.Error(err)
	} else {
		again.Close()
	}
}
