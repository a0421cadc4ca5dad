package dns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	dnsmsg "github.com/miekg/dns"
)

// canned is a connection that answers a query with given bytes, behind the
// query's header and question if these are to match.
type canned struct {
	net.Conn
	answer []byte
	match  bool
	reply  []byte
}

func (c *canned) Write(b []byte) (int, error) {
	c.reply = c.answer
	if query := new(dnsmsg.Msg); c.match && len(c.answer) > headerSize && query.Unpack(b) == nil {
		m := &dnsmsg.Msg{MsgHdr: dnsmsg.MsgHdr{Id: query.Id, Response: true}, Question: query.Question}
		if head, err := m.Pack(); err == nil {
			copy(head[6:headerSize], c.answer[6:headerSize])
			c.reply = slices.Concat(head, c.answer[headerSize:])
		}
	}
	return len(b), nil
}

func (c *canned) Read(b []byte) (int, error) {
	if len(c.reply) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.reply)
	c.reply = nil
	return n, nil
}

func (*canned) Close() error                { return nil }
func (*canned) SetDeadline(time.Time) error { return nil }

var errNoTCP = errors.New("no TCP here")

// FuzzHandle feeds queries of a guest, and answers of whoever its names belong to.
func FuzzHandle(f *testing.F) {
	query := mustPack(f, newQuery(f, "www.example.com", dnsmsg.TypeA).SetEdns0(1232, true))
	reply := new(dnsmsg.Msg).SetReply(newQuery(f, "www.example.com", dnsmsg.TypeA))
	reply.Answer = parseRecords(f, "www.example.com. 30 IN CNAME a.example.", "a.example. 30 IN A 127.0.0.1", "a.example. 30 IN AAAA ::ffff:10.0.0.1",
		`a.example. 30 IN HTTPS 1 . mandatory=ipv4hint alpn=h2 ipv4hint=8.8.8.8 ipv6hint=::1`, "a.example. 30 IN A 8.8.8.8")
	answer := mustPack(f, reply)
	f.Add(query, answer, true, false)
	f.Add(mustPack(f, newQuery(f, "host.holt.internal", dnsmsg.TypeA)), answer, false, false)
	f.Add(mustPack(f, newQuery(f, "localhost", dnsmsg.TypeANY)), answer, false, true)
	f.Add(query[:14], answer[:30], true, true)
	f.Fuzz(func(t *testing.T, query, answer []byte, match, overTCP bool) {
		s := newServer(t, []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")})
		s.dial = func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			if network == "tcp" {
				return nil, errNoTCP
			}
			return &canned{answer: answer, match: match}, nil
		}
		b := s.Handle(context.Background(), query, overTCP)
		if b == nil {
			return
		}
		limit := 512
		if overTCP {
			limit = maxAnswer
		}
		m, asked := new(dnsmsg.Msg), new(dnsmsg.Msg)
		if err := m.Unpack(b); err != nil {
			t.Fatalf("the answer %x: %v", b, err)
		}
		if asked.Unpack(query) == nil && asked.IsEdns0() != nil {
			limit = max(limit, maxUDP)
		}
		if len(b) > limit || !m.Response || len(query) < headerSize || m.Id != uint16(query[0])<<8|uint16(query[1]) {
			t.Errorf("%d bytes:\n%v", len(b), m)
		}
		if m.Authoritative {
			return
		}
		for _, rr := range append(m.Answer, m.Ns...) {
			if addr, has := addrOf(rr); has && len(s.policy.Answer("x", []netip.Addr{addr}, 0)) == 0 {
				t.Errorf("the guest gets %v", rr)
			}
		}
	})
}
