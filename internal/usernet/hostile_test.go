package usernet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/usernet/policy"
)

// works checks that the network still does what it is for.
func (g *guest) works(t testing.TB) {
	t.Helper()
	c := g.dial(t, g.serveTCP(t, false, echoTCP))
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "hello")
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("afterwards got %q, %v", b, err)
	}
}

// syn makes a SYN segment of the guest.
func (g *guest) syn(from uint16, to netip.AddrPort) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	ip := header.IPv4(b)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber),
		SrcAddr: fromNetip(g.network.layout.Guest4.Addr()), DstAddr: fromNetip(to.Addr()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	header.TCP(b[header.IPv4MinimumSize:]).Encode(&header.TCPFields{
		SrcPort: from, DstPort: to.Port(), SeqNum: 1, DataOffset: header.TCPMinimumSize,
		Flags: header.TCPFlagSyn, WindowSize: 65535,
	})
	return g.frame(uint16(header.IPv4ProtocolNumber), b)
}

// heap is the memory in use, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bounded checks that f leaves little memory and few goroutines more.
func bounded(t testing.TB, f func()) {
	t.Helper()
	memory, goroutines := heap(), runtime.NumGoroutine()
	f()
	// A request has a goroutine in each of the two forwarders, and a second while the
	// host's connection is being made.
	if n := runtime.NumGoroutine() - goroutines; n > 2*maxRequests+maxHandshakes+MaxFlows {
		t.Errorf("%d more goroutines", n)
	}
	if after := heap(); after > memory+(128<<20) {
		t.Errorf("%d more MiB", (after-memory)>>20)
	}
}

func TestSYNFlood(t *testing.T) {
	g := newGuest(t, testConfig())
	listening := g.serveTCP(t, false, echoTCP)
	frames := g.listen() // nothing is ever acknowledged
	go func() {
		for range frames {
		}
	}()
	bounded(t, func() {
		for i := range 60_000 {
			to := listening
			if i%2 == 0 { // refused ones too
				to = netip.AddrPortFrom(g.network.layout.Host4, uint16(1+i%100))
			}
			g.transmit(g.syn(uint16(1000+i), to))
		}
	})
	g.tap.Store(nil)
	// The guest's stack resets what it knows nothing of, when it is asked again: within
	// 8 s, see synRetries.
	settled := false
	for range 4 {
		settled = settled || eventually(func() bool { return g.network.Stats().Active < maxHandshakes/2 })
	}
	if !settled {
		t.Errorf("%d connections are in the making", g.network.Stats().Active)
	}
	g.works(t)
}

func TestUDPFlood(t *testing.T) {
	g := newGuest(t, testConfig())
	l := &g.network.layout
	bounded(t, func() {
		for i := range 20_000 {
			to := netip.AddrPortFrom(l.Host4, uint16(20000+i%30000))
			if i%3 == 0 {
				to = netip.AddrPortFrom(l.Host6, to.Port())
			}
			g.network.Transmit(g.datagram(to, []byte("flood"), noOffload))
		}
	})
	g.network.flows.mu.Lock()
	if n := g.network.flows.order.Len(); n > MaxFlows || n != len(g.network.flows.byKey) {
		t.Errorf("%d flows", n)
	}
	g.network.flows.mu.Unlock()
	g.works(t)
}

func TestGarbage(t *testing.T) {
	g := newGuest(t, testConfig())
	bounded(t, func() {
		for size := range 3000 {
			for _, kind := range []uint16{0x0800, 0x86dd, 0x0806, 0x8100, 0} {
				b := make([]byte, size)
				for i := range b {
					b[i] = byte(i*7 + size)
				}
				f := g.frame(kind, b)
				g.transmit(f)
				if len(f) > netframe.HeaderSize+40 {
					f[14] = byte(0x45 + (kind & 0xf0)) // what looks like IP
					binary.BigEndian.PutUint16(f[16:], uint16(size))
					copy(f[26:], g.network.layout.Guest4.Addr().AsSlice())
					f[23] = []byte{1, 6, 17, 58}[size%4]
					g.transmit(f)
				}
			}
		}
	})
	g.works(t)
}

// TestFragments sends first fragments without the rest.
func TestFragments(t *testing.T) {
	g := newGuest(t, testConfig())
	to := g.serveUDP(t, false)
	bounded(t, func() {
		for i := range 20_000 {
			f := g.datagram(to, make([]byte, 9000), noOffload)
			ip := header.IPv4(f.Parts[1])
			ip.SetID(uint16(i))
			ip.SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0)
			ip.SetChecksum(0)
			ip.SetChecksum(^ip.CalculateChecksum())
			g.network.Transmit(f)
		}
	})
	g.works(t)
}

// TestMany holds many connections open at once.
func TestMany(t *testing.T) {
	g := newGuest(t, testConfig())
	to := g.serveTCP(t, false, echoTCP)
	count := min(1000, g.network.limits.connections)
	var all sync.WaitGroup
	conns := make([]net.Conn, count)
	for i := range conns {
		all.Go(func() {
			c, err := g.tryDial(to)
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	if n := g.network.Stats().Active; n != count {
		t.Errorf("%d connections are open", n)
	}
	for i, c := range conns {
		all.Go(func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(20 * time.Second))
			want := strings.Repeat(fmt.Sprint(i), 2000)
			go io.WriteString(c, want)
			b := make([]byte, len(want))
			if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if !eventually(func() bool { return g.network.Stats().Active == 0 }) {
		t.Errorf("%d connections are left", g.network.Stats().Active)
	}
}

// TestClose closes a network in use, and looks for goroutines that are left.
func TestClose(t *testing.T) {
	before := goroutines()
	port := freePort(t)
	config := testConfig()
	config.Forwards = []Forward{
		{policy.TCP, netip.AddrPortFrom(netip.Addr{}, port), 80},
		{policy.UDP, netip.AddrPortFrom(netip.Addr{}, port), 80},
	}
	config.Capture = io.Discard
	config.DNS = upperCase{make(chan struct{})} // answers nothing
	t.Run("in use", func(t *testing.T) {
		g := newGuest(t, config)
		g.echoInGuest(t, 80, false)
		hung := make(chan struct{})
		c := g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
			defer c.Close()
			io.Copy(io.Discard, c)
			close(hung)
		}))
		c.Write([]byte("hello"))
		p, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		io.ReadFull(p, make([]byte, 3))
		d := g.dialUDP(t, g.serveUDP(t, false))
		d.Write([]byte("hello"))
		d.Read(make([]byte, 10))
		g.network.Transmit(g.datagram(netip.MustParseAddrPort("10.0.2.1:53"), []byte("x"), noOffload))
		s := g.dial(t, netip.MustParseAddrPort("10.0.2.1:53"))
		s.Write([]byte("\x00\x05hello"))
		g.dial(t, netip.MustParseAddrPort("10.0.2.1:53")) // asks nothing
		within(t, 5*time.Second, func() {
			if err := g.network.Close(); err != nil {
				t.Error(err)
			}
			<-hung
		})
		g.network.Transmit(g.datagram(netip.MustParseAddrPort("10.0.2.1:53"), []byte("x"), noOffload))
		g.network.Room()
		if err := g.network.Close(); err != nil {
			t.Error(err)
		}
		if l, err := net.Listen("tcp", fmt.Sprint(":", port)); err != nil {
			t.Errorf("the published port: %v", err)
		} else {
			l.Close()
		}
	})
	if !eventually(func() bool { return len(goroutines()) <= len(before) }) {
		for _, s := range goroutines() {
			t.Logf("%s", s)
		}
		t.Errorf("%d goroutines before, %d after", len(before), len(goroutines()))
	}
}

// goroutines returns the stacks of those that run code of networks.
func goroutines() (stacks []string) {
	b := make([]byte, 1<<22)
	b = b[:runtime.Stack(b, true)]
	for s := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(s, "usernet.(*") || strings.Contains(s, "gvisor") {
			stacks = append(stacks, s)
		}
	}
	return stacks
}

// TestCloseHalfOpen closes a network with connections that the guest leaves half
// open.
func TestCloseHalfOpen(t *testing.T) {
	g := newGuest(t, testConfig())
	to := g.serveTCP(t, false, echoTCP)
	frames := g.listen()
	const count = 100
	for i := range count {
		g.transmit(g.syn(uint16(1000+i), to))
	}
	for range count {
		next(t, frames)
	}
	for i := range count {
		g.transmit(g.syn(uint16(2000+i), to))
	}
	within(t, 5*time.Second, func() {
		if err := g.network.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTooMany asks for a connection when there are enough.
func TestTooMany(t *testing.T) {
	g, port := publish(t, policy.TCP, 80)
	g.echoInGuest(t, 80, false)
	g.network.counters.active.Add(MaxConnections)
	if _, err := g.tryDial(g.serveTCP(t, false, echoTCP)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("the guest's: %v", err)
	}
	c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("a published one: %v", err)
	}
	g.network.counters.active.Add(-MaxConnections)
	g.works(t)
}

// TestTrickle has the host's peer send single bytes to a guest that takes nothing
// for a while. They stay where they cost a byte each: in the host's socket.
func TestTrickle(t *testing.T) {
	const bulk, singles = 1200 << 10, 20_000
	data := make([]byte, bulk+singles)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	g := newGuest(t, testConfig())
	step, done := make(chan struct{}), make(chan struct{})
	c := g.dial(t, g.serveTCP(t, false, func(c *net.TCPConn) {
		defer c.Close()
		c.Write(data[:bulk])
		<-step
		for i := range singles {
			c.Write(data[bulk+i:][:1])
		}
		close(done)
	}))
	if !eventually(func() bool {
		for _, e := range g.network.stack.RegisteredEndpoints() {
			return guestConn{ep: e.(tcpip.Endpoint)}.busy()
		}
		return false
	}) {
		t.Fatal("nothing waits for the guest")
	}
	time.Sleep(50 * time.Millisecond) // until it stands still
	before := heap()
	close(step)
	<-done
	if after := heap(); after > before+singles*15 {
		t.Errorf("%d bytes take %d bytes of memory", singles, after-before)
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d arrive: %v", len(got), len(data), err)
	}
}
