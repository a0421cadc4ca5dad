package usernet

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"
)

// upperCase is a resolver that answers with the query and what it was asked by.
type upperCase struct{ release chan struct{} }

func (r upperCase) Handle(ctx context.Context, query []byte, overTCP bool) []byte {
	if r.release != nil {
		select {
		case <-r.release:
		case <-ctx.Done():
			return nil
		}
	}
	if overTCP {
		return append([]byte("tcp "), query...)
	}
	return append([]byte("udp "), query...)
}

func TestDNS(t *testing.T) {
	config := testConfig()
	config.DNS = upperCase{}
	g := newGuest(t, config)
	if ns := g.network.Guest().Nameservers; len(ns) != 2 {
		t.Errorf("the guest is told of %v", ns)
	}
	for _, to := range []string{"10.0.2.1:53", "[fd68:6f6c:7400::1]:53"} {
		server := netip.MustParseAddrPort(to)
		c := g.dialUDP(t, server)
		c.Write([]byte("hello"))
		b := make([]byte, 100)
		if n, err := c.Read(b); err != nil || string(b[:n]) != "udp hello" {
			t.Errorf("%s: got %q, %v", to, b[:n], err)
		}
		s := g.dial(t, server)
		s.SetDeadline(time.Now().Add(5 * time.Second))
		s.Write([]byte("\x00\x05hello\x00"))
		s.Write([]byte("\x05again"))
		s.CloseWrite()
		if b, err := io.ReadAll(s); err != nil || string(b) != "\x00\x09tcp hello\x00\x09tcp again" {
			t.Errorf("%s: got %q, %v", to, b, err)
		}
	}
	if s := g.network.Stats(); s.DNSQueries != 6 {
		t.Errorf("%d queries are counted", s.DNSQueries)
	}
}

// TestDNSFlood asks 100,000 times while nothing is answered.
func TestDNSFlood(t *testing.T) {
	config := testConfig()
	release := make(chan struct{})
	config.DNS = upperCase{release}
	g := newGuest(t, config)
	frame := g.datagram(netip.MustParseAddrPort("10.0.2.1:53"), []byte("hello"), noOffload)
	for range 100_000 {
		g.network.Transmit(frame)
	}
	if s := g.network.Stats(); s.DNSQueries > maxQueries {
		t.Errorf("%d queries are in work", s.DNSQueries)
	}
	close(release)
	c := g.dialUDP(t, netip.MustParseAddrPort("10.0.2.1:53"))
	if !eventually(func() bool {
		c.SetDeadline(time.Now().Add(50 * time.Millisecond)) // for writing, too
		c.Write([]byte("again"))
		_, err := c.Read(make([]byte, 100))
		return err == nil
	}) {
		t.Error("nothing is answered afterwards")
	}
}

// TestDNSConnections opens more connections than the resolver serves.
func TestDNSConnections(t *testing.T) {
	config := testConfig()
	config.DNS = upperCase{}
	g := newGuest(t, config)
	server := netip.MustParseAddrPort("10.0.2.1:53")
	for range maxDNSConns {
		g.dial(t, server)
	}
	if c, err := g.tryDial(server); err == nil {
		c.Close()
		t.Error("there is no end to them")
	}
}
