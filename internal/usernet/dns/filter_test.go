package dns

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	dnsmsg "github.com/miekg/dns"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// TestAnswersAreFiltered is what a guest gets of an upstream's answer for
// www.example.com.
func TestAnswersAreFiltered(t *testing.T) {
	const a, aaaa, https, cname = dnsmsg.TypeA, dnsmsg.TypeAAAA, dnsmsg.TypeHTTPS, dnsmsg.TypeCNAME
	tests := map[string]struct {
		mode    policy.Mode
		rules   []string
		qtype   uint16
		records []string
		rcode   int
		want    []string
	}{
		"public": {qtype: a,
			records: []string{"www.example.com. 30 IN A 8.8.8.8", "www.example.com. 30 IN A 8.8.4.4"},
			want:    []string{"www.example.com. 30 IN A 8.8.8.8", "www.example.com. 30 IN A 8.8.4.4"}},
		"rebinding": {qtype: a,
			records: []string{"www.example.com. 30 IN A 127.0.0.1", "www.example.com. 30 IN A 8.8.8.8", "www.example.com. 30 IN A 169.254.169.254",
				"www.example.com. 30 IN A 10.0.0.1", "www.example.com. 30 IN A 0.0.0.0", "www.example.com. 30 IN A 255.255.255.255"},
			want: []string{"www.example.com. 30 IN A 8.8.8.8"}},
		"rebinding over IPv6": {qtype: aaaa,
			records: []string{"www.example.com. 30 IN AAAA ::1", "www.example.com. 30 IN AAAA ::ffff:127.0.0.1", "www.example.com. 30 IN AAAA fd00::1",
				"www.example.com. 30 IN AAAA 64:ff9b::a9fe:a9fe", "www.example.com. 30 IN AAAA fe80::1", "www.example.com. 30 IN AAAA ::",
				"www.example.com. 30 IN AAAA 2606::1", "www.example.com. 30 IN AAAA 64:ff9b::808:808"},
			want: []string{"www.example.com. 30 IN AAAA 2606::1", "www.example.com. 30 IN AAAA 64:ff9b::808:808"}},
		"rebinding only": {qtype: a, records: []string{"www.example.com. 30 IN A 127.0.0.1"}},
		"rebinding of an allowed name": {qtype: a, rules: []string{"allow *.example.com", "deny any"},
			records: []string{"www.example.com. 30 IN A 127.0.0.1", "www.example.com. 30 IN A 10.0.0.1"}},
		"opened by a prefix": {qtype: a, rules: []string{"allow 10.0.0.0/8"},
			records: []string{"www.example.com. 30 IN A 10.0.0.1", "www.example.com. 30 IN A 192.168.0.1"},
			want:    []string{"www.example.com. 30 IN A 10.0.0.1"}},
		"all": {mode: policy.ModeAll, qtype: a,
			records: []string{"www.example.com. 30 IN A 10.0.0.1", "www.example.com. 30 IN A 0.0.0.0"},
			want:    []string{"www.example.com. 30 IN A 10.0.0.1"}},
		"long TTL": {qtype: a, records: []string{"www.example.com. 90000 IN A 8.8.8.8"},
			want: []string{"www.example.com. 3540 IN A 8.8.8.8"}},
		"chain": {qtype: a, rules: []string{"allow *.example.com", "deny any"},
			records: []string{"www.example.com. 30 IN CNAME a.cdn.net.", "a.cdn.net. 30 IN CNAME b.cdn.net.", "b.cdn.net. 30 IN A 8.8.8.8"},
			want:    []string{"www.example.com. 30 IN CNAME a.cdn.net.", "a.cdn.net. 30 IN CNAME b.cdn.net.", "b.cdn.net. 30 IN A 8.8.8.8"}},
		"chain to rebinding": {qtype: a,
			records: []string{"www.example.com. 30 IN CNAME a.cdn.net.", "a.cdn.net. 30 IN A 127.0.0.1"},
			want:    []string{"www.example.com. 30 IN CNAME a.cdn.net."}},
		"chain through what is denied": {qtype: a, rules: []string{"deny *.cdn.net"}, rcode: dnsmsg.RcodeNameError,
			records: []string{"www.example.com. 30 IN CNAME A.cdn.net.", "a.cdn.net. 30 IN CNAME b.net.", "b.net. 30 IN A 8.8.8.8"}},
		"chain to what is denied": {qtype: a, rules: []string{"deny evil.net"}, rcode: dnsmsg.RcodeNameError,
			records: []string{"www.example.com. 30 IN CNAME a.cdn.net.", "a.cdn.net. 30 IN CNAME evil.net.", "evil.net. 30 IN A 8.8.8.8"}},
		"alias of a tree to what is denied": {qtype: a, rules: []string{"deny *.evil.net"}, rcode: dnsmsg.RcodeNameError,
			records: []string{"example.com. 30 IN DNAME x.evil.net."}},
		"only the alias is asked for": {qtype: cname, rules: []string{"deny evil.net"}, rcode: dnsmsg.RcodeNameError,
			records: []string{"www.example.com. 30 IN CNAME evil.net."}},
		"hints": {qtype: https,
			records: []string{`www.example.com. 30 IN HTTPS 1 . mandatory=ipv4hint alpn=h2 ipv4hint=8.8.8.8,127.0.0.1 ipv6hint=::1 port=8443`,
				`www.example.com. 30 IN HTTPS 2 . mandatory=alpn,ipv4hint alpn=h3 ipv4hint=8.8.8.8`},
			want: []string{`www.example.com. 30 IN HTTPS 1 . alpn="h2" port="8443"`, `www.example.com. 30 IN HTTPS 2 . mandatory="alpn" alpn="h3"`}},
		"service of what is denied": {qtype: https, rules: []string{"deny evil.net"}, rcode: dnsmsg.RcodeNameError,
			records: []string{`www.example.com. 30 IN HTTPS 0 evil.net.`}},
		"other types": {qtype: dnsmsg.TypeTXT,
			records: []string{`www.example.com. 30 IN TXT "127.0.0.1"`, "www.example.com. 30 IN A 127.0.0.1"},
			want:    []string{`www.example.com. 30 IN TXT "127.0.0.1"`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := startUpstream(t, records(t, test.records...))
			m := ask(t, newServerIn(t, test.mode, s1(u), test.rules...), "www.example.com", test.qtype)
			if m.Rcode != test.rcode || !slices.Equal(texts(m.Answer), test.want) {
				t.Errorf("the answer is\n%v", m)
			}
		})
	}
}

func TestOtherSectionsHaveNoAddresses(t *testing.T) {
	u := startUpstream(t, func(query *dnsmsg.Msg, _ bool) []*dnsmsg.Msg {
		m := new(dnsmsg.Msg).SetRcode(query, dnsmsg.RcodeNameError)
		m.Authoritative, m.AuthenticatedData = true, true
		m.Ns = parseRecords(t, "example.com. 300 IN SOA ns.example.com. root.example.com. 1 2 3 4 5", "ns.example.com. 30 IN A 127.0.0.1")
		m.Extra = parseRecords(t, "ns.example.com. 30 IN A 127.0.0.1", "ns.example.com. 30 IN AAAA ::1", `x. 30 IN TXT "x"`)
		return []*dnsmsg.Msg{m.SetEdns0(4096, true)}
	})
	m := ask(t, newServer(t, s1(u)), "x.example.com", dnsmsg.TypeA)
	if m.Rcode != dnsmsg.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dnsmsg.TypeSOA || len(m.Extra) != 0 {
		t.Errorf("the answer is\n%v", m)
	}
	// We are no authority, and what we changed is not authentic.
	if m.Authoritative || m.AuthenticatedData {
		t.Errorf("the answer is\n%v", m)
	}
}

// TestResolvedNamesAreReachable is what domain rules are for.
func TestResolvedNamesAreReachable(t *testing.T) {
	u := startUpstream(t, records(t, "www.example.com. 100 IN CNAME a.cdn.net.", "a.cdn.net. 100 IN A 8.8.8.8"))
	var rules []policy.Rule
	for _, text := range []string{"allow *.example.com:443/tcp", "deny any"} {
		rule, err := policy.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule)
	}
	p := policy.New(policy.ModePublic, rules, policy.Options{HostAddrs: func() ([]netip.Addr, error) { return nil, nil }})
	s := New(Config{Upstream: s1(u), Policy: p})
	dst := netip.MustParseAddrPort("8.8.8.8:443")
	if p.Check(policy.TCP, dst).Allow {
		t.Error("an address is open before it was answered")
	}
	if m := ask(t, s, "www.example.com", dnsmsg.TypeA); len(m.Answer) != 2 {
		t.Fatalf("the answer is\n%v", m)
	}
	if v := p.Check(policy.TCP, dst); !v.Allow {
		t.Errorf("an address that was answered is refused: %+v", v)
	}
	if m := ask(t, s, "a.cdn.net", dnsmsg.TypeA); m.Rcode != dnsmsg.RcodeNameError {
		t.Errorf("the alias itself is answered with\n%v", m)
	}
}

// TestTTLReachesThePolicy asserts that what a guest may cache it may also reach.
func TestTTLReachesThePolicy(t *testing.T) {
	for _, ttl := range []string{"0", "100", "100000"} {
		synctest.Test(t, func(t *testing.T) {
			rule, err := policy.ParseRule("allow www.example.com")
			if err != nil {
				t.Fatal(err)
			}
			p := policy.New(policy.ModeLocal, []policy.Rule{rule}, policy.Options{HostAddrs: func() ([]netip.Addr, error) { return nil, nil }})
			s := New(Config{Policy: p})
			req, _ := parseQuery(mustPack(t, newQuery(t, "www.example.com", dnsmsg.TypeA)))
			m := s.filter(req, &dnsmsg.Msg{Answer: parseRecords(t, "www.example.com. "+ttl+" IN A 8.8.8.8")})
			if len(m.Answer) != 1 {
				t.Fatalf("the answer is\n%v", m)
			}
			time.Sleep(time.Duration(m.Answer[0].Header().Ttl)*time.Second + 59*time.Second)
			dst := netip.MustParseAddrPort("8.8.8.8:443")
			if v := p.Check(policy.TCP, dst); !v.Allow {
				t.Errorf("TTL %s: refused while it is in a cache: %+v", ttl, v)
			}
			time.Sleep(time.Second)
			if p.Check(policy.TCP, dst).Allow {
				t.Errorf("TTL %s: open for too long", ttl)
			}
		})
	}
}

func mustPack(t testing.TB, m *dnsmsg.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
