package usernet

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestEcho(t *testing.T) {
	g := newGuest(t, testConfig())
	for _, v6 := range []bool{false, true} {
		c := g.dial(t, g.serveTCP(t, v6, echoTCP))
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		c.CloseWrite()
		within(t, 5*time.Second, func() {
			if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
				t.Errorf("IPv6 %v: got %q, %v", v6, b, err)
			}
		})
	}
	if s := g.network.Stats(); s.Connections != 2 {
		t.Errorf("%d connections are counted", s.Connections)
	}
}

func TestBulk(t *testing.T) {
	size := 100 << 20
	if testing.Short() {
		size = 10 << 20
	}
	data := make([]byte, 1<<20)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(data)
	want := sha256.New()
	for range size >> 20 {
		want.Write(data)
	}
	send := func(w io.Writer) {
		for range size >> 20 {
			if _, err := w.Write(data); err != nil {
				t.Error(err)
				return
			}
		}
	}
	sum := func(r io.Reader) []byte {
		h := sha256.New()
		n, err := io.Copy(h, r)
		if err != nil || n != int64(size) {
			t.Errorf("%d bytes arrive: %v", n, err)
		}
		return h.Sum(nil)
	}
	g := newGuest(t, testConfig())
	for _, v6 := range []bool{false, true} {
		got := make(chan []byte, 1)
		up := g.dial(t, g.serveTCP(t, v6, func(c *net.TCPConn) {
			defer c.Close()
			got <- sum(c)
		}))
		send(up)
		up.CloseWrite()
		if !bytes.Equal(<-got, want.Sum(nil)) {
			t.Error("what the guest sends arrives damaged")
		}
		down := g.dial(t, g.serveTCP(t, v6, func(c *net.TCPConn) {
			defer c.Close()
			send(c)
		}))
		if !bytes.Equal(sum(down), want.Sum(nil)) {
			t.Error("what the guest receives is damaged")
		}
	}
}

func TestRefused(t *testing.T) {
	g := newGuest(t, testConfig())
	for _, to := range []string{"10.0.2.2:1", "[fd68:6f6c:7400::2]:1", "10.0.2.1:80", "[fd68:6f6c:7400::1]:80", "10.0.2.77:80", "[fd68:6f6c:7400::77]:80"} {
		start := time.Now()
		_, err := g.tryDial(netip.MustParseAddrPort(to))
		if err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", to, err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: refused after %v", to, d)
		}
	}
}

func BenchmarkTCPOut(b *testing.B) {
	g := newGuest(b, testConfig())
	done := make(chan int64)
	c := g.dial(b, g.serveTCP(b, false, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c)
		done <- n
	}))
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.CloseWrite()
	<-done
	g.report(b)
}

func BenchmarkTCPIn(b *testing.B) {
	g := newGuest(b, testConfig())
	buf := make([]byte, 1<<20)
	c := g.dial(b, g.serveTCP(b, false, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}))
	in := make([]byte, 1<<20)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := io.ReadFull(c, in); err != nil {
			b.Fatal(err)
		}
	}
	g.report(b)
}

// report reports what the stacks count.
func (g *guest) report(b *testing.B) {
	host, guest := g.network.stack.Stats().TCP, g.stack.Stats().TCP
	perOp := func(n uint64, unit string) { b.ReportMetric(float64(n)/float64(b.N), unit+"/op") }
	perOp(host.Retransmits.Value()+guest.Retransmits.Value(), "retransmits")
	perOp(host.SegmentsSent.Value(), "to-guest")
	perOp(guest.SegmentsSent.Value(), "from-guest")
	b.ReportMetric(float64(g.network.Stats().QueueDropped), "dropped")
}

// BenchmarkConnect opens a connection for each exchange of a few bytes.
func BenchmarkConnect(b *testing.B) {
	g := newGuest(b, testConfig())
	to := g.serveTCP(b, false, echoTCP)
	for b.Loop() {
		c, err := g.tryDial(to)
		if err != nil {
			b.Fatal(err)
		}
		c.Write([]byte("hello"))
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || len(got) != 5 {
			b.Fatal(len(got), err)
		}
		c.Close()
	}
}

// BenchmarkUDP exchanges datagrams, one after the other.
func BenchmarkUDP(b *testing.B) {
	g := newGuest(b, testConfig())
	c := g.dialUDP(b, g.serveUDP(b, false))
	buf := make([]byte, 1400)
	for b.Loop() {
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
