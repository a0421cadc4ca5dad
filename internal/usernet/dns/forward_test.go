package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dnsmsg "github.com/miekg/dns"

	"github.com/holtvm/holt/internal/usernet/policy"
)

func TestForwardedQuery(t *testing.T) {
	var mu sync.Mutex
	ids, ports := map[uint16]bool{}, map[string]bool{}
	u := startUpstream(t, func(query *dnsmsg.Msg, _ bool) []*dnsmsg.Msg {
		mu.Lock()
		defer mu.Unlock()
		ids[query.Id] = true
		opt := query.IsEdns0()
		if !query.RecursionDesired || opt == nil || opt.UDPSize() != 1232 || !opt.Do() || len(opt.Option) != 0 || query.Question[0].Name != "WWW.example.com." {
			t.Errorf("the upstream is asked\n%v", query)
		}
		return records(t, "www.example.com. 30 IN A 8.8.8.8")(query, false)
	})
	s := newServer(t, s1(u))
	dial := s.dial
	s.dial = func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
		conn, err := dial(ctx, network, server)
		if err == nil {
			mu.Lock()
			ports[conn.LocalAddr().String()] = true
			mu.Unlock()
		}
		return conn, err
	}
	for range 20 {
		query := newQuery(t, "WWW.example.com", dnsmsg.TypeA).SetEdns0(4096, true)
		query.Id = 7
		query.IsEdns0().Option = append(query.IsEdns0().Option, &dnsmsg.EDNS0_SUBNET{Code: dnsmsg.EDNS0SUBNET, Family: 1, Address: net.IPv4(1, 2, 3, 4)})
		if m := handle(t, s, query, false); len(m.Answer) != 1 {
			t.Errorf("the answer is\n%v", m)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(ids) < 19 || len(ports) < 10 {
		t.Errorf("20 queries have %d ids and %d ports", len(ids), len(ports))
	}
}

// TestSpoofedAnswers sends what an attacker could before the true answer.
func TestSpoofedAnswers(t *testing.T) {
	u := startUpstream(t, func(query *dnsmsg.Msg, overTCP bool) []*dnsmsg.Msg {
		forge := func(change func(m *dnsmsg.Msg)) *dnsmsg.Msg {
			m := records(t, "www.example.com. 30 IN A 6.6.6.6")(query, false)[0]
			change(m)
			return m
		}
		return []*dnsmsg.Msg{
			forge(func(m *dnsmsg.Msg) { m.Id++ }),
			forge(func(m *dnsmsg.Msg) { m.Response = false }),
			forge(func(m *dnsmsg.Msg) { m.Opcode = dnsmsg.OpcodeNotify }),
			forge(func(m *dnsmsg.Msg) { m.Question = nil }),
			forge(func(m *dnsmsg.Msg) { m.Question[0].Name = "wwx.example.com." }),
			forge(func(m *dnsmsg.Msg) { m.Question[0].Qtype = dnsmsg.TypeAAAA }),
			forge(func(m *dnsmsg.Msg) { m.Question[0].Qclass = dnsmsg.ClassCHAOS }),
			records(t, "www.example.com. 30 IN A 8.8.8.8")(query, false)[0],
		}
	})
	m := ask(t, newServer(t, s1(u)), "www.example.com", dnsmsg.TypeA)
	if got := texts(m.Answer); !slices.Equal(got, []string{"www.example.com. 30 IN A 8.8.8.8"}) {
		t.Errorf("the answer is %q", got)
	}
}

func manyAddresses(t testing.TB, n int) func(*dnsmsg.Msg, bool) []*dnsmsg.Msg {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("www.example.com. 30 IN A 8.8.%d.%d", i/250, i%250))
	}
	full := records(t, lines...)
	return func(query *dnsmsg.Msg, overTCP bool) []*dnsmsg.Msg {
		m := full(query, overTCP)[0]
		m.Compress = true
		if !overTCP {
			m.Truncate(1232)
		}
		return []*dnsmsg.Msg{m}
	}
}

func TestTruncation(t *testing.T) {
	u := startUpstream(t, manyAddresses(t, 200)) // about 3.3 kB
	tests := []struct {
		size    uint16 // 0 without EDNS
		overTCP bool
		max     int
		cut     bool
	}{
		{0, false, 512, true},
		{100, false, 512, true},
		{1232, false, 1232, true},
		{4096, false, 4096, false},
		{65535, false, 4096, false},
		{0, true, 65535, false},
		{512, true, 65535, false},
	}
	s := newServer(t, s1(u))
	for _, test := range tests {
		query := newQuery(t, "www.example.com", dnsmsg.TypeA)
		if test.size > 0 {
			query.SetEdns0(test.size, false)
		}
		b := s.Handle(context.Background(), mustPack(t, query), test.overTCP)
		m := new(dnsmsg.Msg)
		if err := m.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if len(b) > test.max || m.Truncated != test.cut || (len(m.Answer) == 200) == test.cut || len(m.Answer) == 0 {
			t.Errorf("%+v: %d bytes with %d records, truncated is %v", test, len(b), len(m.Answer), m.Truncated)
		}
	}
	if udp, tcp := u.udp.Load(), u.tcp.Load(); udp != int64(len(tests)) || tcp != udp {
		t.Errorf("the upstream got %d queries over UDP and %d over TCP", udp, tcp)
	}
}

func TestTooLongAnswer(t *testing.T) {
	u := startUpstream(t, manyAddresses(t, 2000)) // about 32 kB
	if m := handle(t, newServer(t, s1(u)), newQuery(t, "www.example.com", dnsmsg.TypeA), true); m.Rcode != dnsmsg.RcodeServerFailure {
		t.Errorf("the answer is %s with %d records", rcodeName(m.Rcode), len(m.Answer))
	}
}

func TestNextUpstream(t *testing.T) {
	silent := startUpstream(t, func(*dnsmsg.Msg, bool) []*dnsmsg.Msg { return nil })
	failing := func(rcode int) *upstream {
		return startUpstream(t, func(query *dnsmsg.Msg, _ bool) []*dnsmsg.Msg {
			return []*dnsmsg.Msg{new(dnsmsg.Msg).SetRcode(query, rcode)}
		})
	}
	cutting := startUpstream(t, func(query *dnsmsg.Msg, overTCP bool) []*dnsmsg.Msg {
		if overTCP {
			return nil
		}
		m := new(dnsmsg.Msg).SetReply(query)
		m.Truncated = true
		return []*dnsmsg.Msg{m}
	})
	servfail, refused, unknown := failing(dnsmsg.RcodeServerFailure), failing(dnsmsg.RcodeRefused), failing(dnsmsg.RcodeNameError)
	good := startUpstream(t, records(t, "www.example.com. 30 IN A 8.8.8.8"))
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	tests := map[string]struct {
		upstreams []netip.AddrPort
		rcode     int
		answers   int
	}{
		"silent":          {[]netip.AddrPort{silent.addr, good.addr}, 0, 1},
		"SERVFAIL":        {[]netip.AddrPort{servfail.addr, good.addr}, 0, 1},
		"REFUSED":         {[]netip.AddrPort{refused.addr, good.addr}, 0, 1},
		"closed":          {[]netip.AddrPort{closed, good.addr}, 0, 1},
		"TCP fails":       {[]netip.AddrPort{cutting.addr, good.addr}, 0, 1},
		"NXDOMAIN counts": {[]netip.AddrPort{unknown.addr, good.addr}, dnsmsg.RcodeNameError, 0},
		"none is usable":  {[]netip.AddrPort{closed, servfail.addr, refused.addr}, dnsmsg.RcodeServerFailure, 0},
		"all silent":      {[]netip.AddrPort{silent.addr, silent.addr, silent.addr, silent.addr}, dnsmsg.RcodeServerFailure, 0},
		"none":            {nil, dnsmsg.RcodeServerFailure, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, test.upstreams)
			start := time.Now()
			m := ask(t, s, "www.example.com", dnsmsg.TypeA)
			if m.Rcode != test.rcode || len(m.Answer) != test.answers {
				t.Errorf("the answer is\n%v", m)
			}
			if took := time.Since(start); took > s.allPatience+500*time.Millisecond {
				t.Errorf("it takes %v", took)
			}
		})
	}
	// A query that was lost is sent again.
	var first atomic.Bool
	forgetful := startUpstream(t, func(query *dnsmsg.Msg, _ bool) []*dnsmsg.Msg {
		if first.CompareAndSwap(false, true) {
			return nil
		}
		return records(t, "www.example.com. 30 IN A 8.8.8.8")(query, false)
	})
	if m := ask(t, newServer(t, s1(forgetful)), "www.example.com", dnsmsg.TypeA); len(m.Answer) != 1 {
		t.Errorf("the answer is\n%v", m)
	}
}

func TestResolvConf(t *testing.T) {
	u := startUpstream(t, records(t, "www.example.com. 30 IN A 8.8.8.8"))
	path := filepath.Join(t.TempDir(), "resolv.conf")
	var dialed []netip.AddrPort
	s := New(Config{
		ResolvConf: path,
		Policy:     policy.New(policy.ModePublic, nil, policy.Options{}),
		Dial: func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
			dialed = append(dialed, server)
			return new(net.Dialer).DialContext(ctx, network, u.addr.String())
		},
	})
	if m := ask(t, s, "www.example.com", dnsmsg.TypeA); m.Rcode != dnsmsg.RcodeServerFailure || SearchDomains(path) != nil {
		t.Errorf("without a configuration the answer is\n%v", m)
	}
	write := func(text string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	write("# no server\nnameserver\nnameserver example.com\n", 3*time.Hour)
	if m := ask(t, s, "www.example.com", dnsmsg.TypeA); m.Rcode != dnsmsg.RcodeServerFailure || len(dialed) > 0 {
		t.Errorf("without a server the answer is\n%v", m)
	}
	write("search a.example b.example.\nnameserver 127.0.0.53\nnameserver fe80::1%lo\n", 2*time.Hour)
	ask(t, s, "www.example.com", dnsmsg.TypeA)
	write("domain c.example\nnameserver 127.0.0.54\n", time.Hour)
	ask(t, s, "www.example.com", dnsmsg.TypeA)
	if want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.53:53"), netip.MustParseAddrPort("127.0.0.54:53")}; !slices.Equal(dialed, want) {
		t.Errorf("asked are %v", dialed)
	}
	if got := SearchDomains(path); !slices.Equal(got, []string{"c.example"}) {
		t.Errorf("the search domains are %q", got)
	}
}

func TestParseResolvConf(t *testing.T) {
	servers, search := parseResolvConf(strings.Join([]string{
		"; comment", "domain first.example", "options edns0 trust-ad", "nameserver 192.0.2.1 # x", "  nameserver\t::1",
		"nameserver 300.1.1.1", "nameserver fe80::1%eth0", "nameserver 192.0.2.4", `search x.example. . a\.b #c ` + strings.Repeat("d ", 20),
	}, "\n"))
	if got := fmt.Sprint(servers); got != "[192.0.2.1:53 [::1]:53 [fe80::1%eth0]:53]" {
		t.Errorf("the servers are %s", got)
	}
	if len(search) != maxSearch || search[0] != "x.example" || search[1] != "d" {
		t.Errorf("the search domains are %q", search)
	}
}
