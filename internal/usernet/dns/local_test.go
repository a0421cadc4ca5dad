package dns

import (
	"slices"
	"strings"
	"testing"

	dnsmsg "github.com/miekg/dns"

	"github.com/holtvm/holt/internal/usernet/policy"
)

func fieldsJoined(s string) string { return strings.Join(strings.Fields(s), " ") }

// TestLocalNames has an upstream, which must not hear of any of these.
func TestLocalNames(t *testing.T) {
	u := startUpstream(t, records(t, "evil. 60 IN A 8.8.8.8"))
	tests := []struct {
		name  string
		qtype uint16
		rcode int
		want  []string
	}{
		{"host.holt.internal", dnsmsg.TypeA, 0, []string{"host.holt.internal. 60 IN A 10.0.2.2"}},
		{"HOST.holt.Internal", dnsmsg.TypeA, 0, []string{"HOST.holt.Internal. 60 IN A 10.0.2.2"}},
		{"host.holt.internal", dnsmsg.TypeAAAA, 0, []string{"host.holt.internal. 60 IN AAAA fd00::2"}},
		{"host.holt.internal", dnsmsg.TypeMX, 0, nil},
		{"gateway.holt.internal", dnsmsg.TypeA, 0, []string{"gateway.holt.internal. 60 IN A 10.0.2.1"}},
		{"gateway.holt.internal", dnsmsg.TypeAAAA, 0, nil},
		{"2.2.0.10.in-addr.arpa", dnsmsg.TypePTR, 0, []string{"2.2.0.10.in-addr.arpa. 60 IN PTR host.holt.internal."}},
		{"2.2.0.10.in-addr.arpa", dnsmsg.TypeTXT, 0, nil},
		{"2" + strings.Repeat(".0", 29) + ".d.f.ip6.arpa", dnsmsg.TypePTR, 0, []string{"2" + strings.Repeat(".0", 29) + ".d.f.ip6.arpa. 60 IN PTR host.holt.internal."}},
		{"1.0.0.127.in-addr.arpa", dnsmsg.TypePTR, 0, []string{"1.0.0.127.in-addr.arpa. 60 IN PTR localhost."}},
		{"localhost", dnsmsg.TypeA, 0, []string{"localhost. 60 IN A 127.0.0.1"}},
		{"a.b.LocalHost", dnsmsg.TypeAAAA, 0, []string{"a.b.LocalHost. 60 IN AAAA ::1"}},
		{"localhost", dnsmsg.TypeHTTPS, 0, nil},
		{"holt.internal", dnsmsg.TypeA, 0, nil},
		{"other.holt.internal", dnsmsg.TypeA, dnsmsg.RcodeNameError, nil},
		{"x.host.holt.internal", dnsmsg.TypeA, dnsmsg.RcodeNameError, nil},
	}
	for _, mode := range []policy.Mode{policy.ModePublic, policy.ModeLocal} {
		s := newServerIn(t, mode, nil)
		s.upstream = append(s.upstream, u.addr)
		for _, test := range tests {
			m := ask(t, s, test.name, test.qtype)
			if m.Rcode != test.rcode || !m.Authoritative || !slices.Equal(texts(m.Answer), test.want) {
				t.Errorf("%s %s is answered with\n%v", test.name, dnsmsg.TypeToString[test.qtype], m)
			}
		}
	}
	if n := u.udp.Load(); n > 0 {
		t.Errorf("the upstream got %d queries", n)
	}
	// A name that merely ends alike is the world's.
	if m := ask(t, newServerIn(t, policy.ModePublic, s1(u)), "myholt.internal", dnsmsg.TypeMX); m.Authoritative || u.udp.Load() != 1 {
		t.Errorf("myholt.internal is answered with\n%v", m)
	}
}

func TestRefusedNames(t *testing.T) {
	u := startUpstream(t, records(t))
	tests := []struct {
		mode  policy.Mode
		rules []string
		name  string
	}{
		{policy.ModeLocal, nil, "example.com"},
		{policy.ModeNone, nil, "example.com"},
		{policy.ModePublic, []string{"deny example.com"}, "Example.com"},
		{policy.ModePublic, []string{"allow example.com", "deny any"}, "data.tunnel.example"},
		{policy.ModePublic, nil, `a\.b.example`},
		{policy.ModePublic, nil, `a\000b.example`},
	}
	for _, test := range tests {
		s := newServerIn(t, test.mode, s1(u), test.rules...)
		for _, qtype := range []uint16{dnsmsg.TypeA, dnsmsg.TypeTXT} {
			if m := ask(t, s, test.name, qtype); m.Rcode != dnsmsg.RcodeNameError || m.Authoritative {
				t.Errorf("%v %v: %s is answered with\n%v", test.mode, test.rules, test.name, m)
			}
		}
	}
	if n := u.udp.Load(); n > 0 {
		t.Errorf("the upstream got %d queries", n)
	}
}
