package usernet

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// guest is a machine at the other end of a network, with a stack of its own. It
// uses the same link and queue in the other direction.
type guest struct {
	network *Network
	link    *link
	queue   *queue
	stack   *stack.Stack
	tap     atomic.Pointer[chan []byte] // gets frames instead of the stack
}

// testConfig is a network where the guest reaches everything.
func testConfig() Config {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("USERNET_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return Config{
		Address: netip.MustParsePrefix("10.0.2.15/24"),
		Policy:  policy.New(policy.ModeAll, nil, policy.Options{}),
		Logger:  log,
	}
}

func newGuest(t testing.TB, config Config) *guest {
	t.Helper()
	n, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{}
	l := &n.layout
	g.queue = newQueue(func() {}, func(netframe.Frame) {})
	g.link = newLink(l.GuestMAC, l.GatewayMAC, n.mtu, g.queue)
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	if err := configureStack(g.stack, g.link, &Layout{Gateway4: l.Guest4.Addr(), Gateway6: l.Guest6.Addr()}); err != nil {
		t.Fatal(err)
	}
	g.stack.SetPromiscuousMode(nicID, false)
	g.stack.SetSpoofing(nicID, false)
	size := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 6 << 20}
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &size)
	sndSize := tcpip.TCPSendBufferSizeRangeOption{Min: 4096, Default: 1 << 20, Max: 6 << 20}
	g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sndSize)
	g.plug(n)
	t.Cleanup(func() { g.close(t) })
	return g
}

// plug plugs the guest into a network.
func (g *guest) plug(n *Network) {
	g.network = n
	g.queue.attach(func(frames []netframe.Frame) int {
		for _, f := range frames {
			n.Transmit(f)
		}
		return len(frames)
	})
	n.Attach(g.receive)
}

func (g *guest) close(t testing.TB) {
	if err := g.network.Close(); err != nil {
		t.Error(err)
	}
	g.stack.Destroy()
	g.queue.close()
}

func (g *guest) receive(frames []netframe.Frame) int {
	for _, f := range frames {
		v := buffer.NewView(f.Len())
		for _, p := range f.Parts {
			v.Write(p)
		}
		if tap := g.tap.Load(); tap != nil {
			*tap <- v.ToSlice()
			continue
		}
		etherType := header.Ethernet(v.AsSlice()).Type()
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
		pkt.LinkHeader().Consume(netframe.HeaderSize)
		g.link.deliver(etherType, pkt)
		pkt.DecRef()
	}
	return len(frames)
}

// listen makes the guest's stack see no frames any more, and returns them.
func (g *guest) listen() <-chan []byte {
	tap := make(chan []byte, 4096)
	g.tap.Store(&tap)
	return tap
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: fromNetip(a.Addr()), Port: a.Port()}
}

// dial connects from within the guest.
func (g *guest) dial(t testing.TB, to netip.AddrPort) *gonet.TCPConn {
	t.Helper()
	c, err := g.tryDial(to)
	if err != nil {
		t.Fatalf("dial %s: %v", to, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (g *guest) tryDial(to netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, full(to), version(to.Addr()))
}

// serveTCP runs a server on a loopback address of the host, and returns the address
// by which the guest reaches it.
func (g *guest) serveTCP(t testing.TB, v6 bool, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	at, seen := "127.0.0.1:0", g.network.layout.Host4
	if v6 {
		at, seen = "[::1]:0", g.network.layout.Host6
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c.(*net.TCPConn))
		}
	}()
	return netip.AddrPortFrom(seen, l.Addr().(*net.TCPAddr).AddrPort().Port())
}

// echoTCP sends everything back, and then the end.
func echoTCP(c *net.TCPConn) {
	defer c.Close()
	io.Copy(c, c)
	c.CloseWrite()
}

// within fails the test if f takes longer than d.
func within(t testing.TB, d time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("takes longer than %v", d)
	}
}
