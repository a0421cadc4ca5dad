package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	dnsmsg "github.com/miekg/dns"

	"github.com/holtvm/holt/internal/usernet/policy"
)

var hostAddr = netip.MustParseAddr("10.0.2.2")

// newServer returns a server with the rules of a public network and the host's
// name, and with upstreams.
func newServer(t testing.TB, upstreams []netip.AddrPort, rules ...string) *Server {
	t.Helper()
	return newServerIn(t, policy.ModePublic, upstreams, rules...)
}

func newServerIn(t testing.TB, mode policy.Mode, upstreams []netip.AddrPort, rules ...string) *Server {
	t.Helper()
	parsed := make([]policy.Rule, len(rules))
	for i, text := range rules {
		var err error
		if parsed[i], err = policy.ParseRule(text); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Config{
		Local: map[string][]netip.Addr{
			"Host.holt.internal.":   {hostAddr, netip.MustParseAddr("fd00::2")},
			"gateway.holt.internal": {netip.MustParseAddr("10.0.2.1")},
		},
		Upstream:   upstreams,
		ResolvConf: "/nonexistent/resolv.conf",
		Policy: policy.New(mode, parsed, policy.Options{
			HostAddrs: func() ([]netip.Addr, error) { return nil, nil },
		}),
	})
	s.patience, s.allPatience = 200*time.Millisecond, time.Second
	return s
}

// upstream is a name server on the loopback, over UDP and TCP.
type upstream struct {
	addr     netip.AddrPort
	udp, tcp atomic.Int64 // queries
}

// startUpstream starts a server that answers with the messages that handle
// returns. Those that it leaves without an id get the query's.
func startUpstream(t testing.TB, handle func(query *dnsmsg.Msg, overTCP bool) []*dnsmsg.Msg) *upstream {
	t.Helper()
	u := new(upstream)
	var udp net.PacketConn
	tcp, err := net.Listener(nil), error(nil)
	for range 100 { // somebody else may have the TCP port
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			break
		}
		t.Cleanup(func() { udp.Close() })
		u.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
		if tcp, err = net.Listen("tcp", u.addr.String()); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	respond := func(b []byte, overTCP bool, send func([]byte)) {
		query := new(dnsmsg.Msg)
		if err := query.Unpack(b); err != nil {
			t.Errorf("the server asks %x: %v", b, err)
			return
		}
		for _, m := range handle(query, overTCP) {
			packed, err := m.Pack()
			if err != nil {
				t.Errorf("pack the upstream's answer: %v", err)
				return
			}
			send(packed)
		}
	}
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			u.udp.Add(1)
			respond(buf[:n], false, func(b []byte) { udp.WriteTo(b, from) })
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			u.tcp.Add(1)
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			var length uint16
			if binary.Read(conn, binary.BigEndian, &length) == nil {
				buf := make([]byte, length)
				if _, err := io.ReadFull(conn, buf); err == nil {
					respond(buf, true, func(b []byte) {
						conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
					})
				}
			}
			conn.Close()
		}
	}()
	return u
}

// records returns an upstream's handler that always answers with records, in the
// form of a zone file.
func records(t testing.TB, lines ...string) func(*dnsmsg.Msg, bool) []*dnsmsg.Msg {
	t.Helper()
	rrs := parseRecords(t, lines...)
	return func(query *dnsmsg.Msg, _ bool) []*dnsmsg.Msg {
		m := new(dnsmsg.Msg).SetReply(query)
		m.Answer = rrs
		return []*dnsmsg.Msg{m}
	}
}

func parseRecords(t testing.TB, lines ...string) (rrs []dnsmsg.RR) {
	t.Helper()
	for _, line := range lines {
		rr, err := dnsmsg.NewRR(line)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	return rrs
}

func newQuery(t testing.TB, name string, qtype uint16) *dnsmsg.Msg {
	t.Helper()
	return new(dnsmsg.Msg).SetQuestion(dnsmsg.Fqdn(name), qtype)
}

// handle sends a message to s and returns the answer, which must be one to it.
func handle(t testing.TB, s *Server, query *dnsmsg.Msg, overTCP bool) *dnsmsg.Msg {
	t.Helper()
	b, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	m := new(dnsmsg.Msg)
	answer := s.Handle(context.Background(), b, overTCP)
	if err := m.Unpack(answer); err != nil {
		t.Fatalf("the answer %x: %v", answer, err)
	}
	if !answers(m, query) || !m.RecursionAvailable {
		t.Fatalf("this is no answer to %v:\n%v", query.Question, m)
	}
	return m
}

// ask asks s over UDP without EDNS.
func ask(t testing.TB, s *Server, name string, qtype uint16) *dnsmsg.Msg {
	t.Helper()
	return handle(t, s, newQuery(t, name, qtype), false)
}

// texts returns the records in the form of a zone file, with single spaces.
func texts(rrs []dnsmsg.RR) (lines []string) {
	for _, rr := range rrs {
		lines = append(lines, fieldsJoined(rr.String()))
	}
	return lines
}
