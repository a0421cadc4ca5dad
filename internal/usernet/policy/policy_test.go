package policy_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/usernet/policy"
)

// hostAddr stands for a public address that an interface of the host has.
var hostAddr = netip.MustParseAddr("198.41.0.4")

var options = policy.Options{
	HostAddrs: func() ([]netip.Addr, error) {
		return []netip.Addr{hostAddr, netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("fe80::9%lo")}, nil
	},
	Names: map[string][]netip.Addr{
		"Host.holt.internal.": {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
	},
}

func newPolicy(t testing.TB, mode policy.Mode, rules ...string) *policy.Policy {
	t.Helper()
	parsed := make([]policy.Rule, len(rules))
	for i, text := range rules {
		var err error
		if parsed[i], err = policy.ParseRule(text); err != nil {
			t.Fatal(err)
		}
	}
	return policy.New(mode, parsed, options)
}

// parseAccess parses "ADDR:PORT/PROTOCOL" or "ADDR/icmp".
func parseAccess(t testing.TB, s string) (policy.Protocol, netip.AddrPort) {
	t.Helper()
	dst, name, _ := strings.Cut(s, "/")
	for _, p := range []policy.Protocol{policy.TCP, policy.UDP, policy.ICMP} {
		if p.String() != name {
			continue
		}
		if p == policy.ICMP {
			return p, netip.AddrPortFrom(netip.MustParseAddr(dst), 0)
		}
		return p, netip.MustParseAddrPort(dst)
	}
	t.Fatalf("%q has no protocol", s)
	return 0, netip.AddrPort{}
}

const (
	allowed = "" // the reason of what is allowed

	off         = "the network is off"
	isPrivate   = "private range"
	isLinkLocal = "link-local address"
	isHost      = "address of the host"
	isLoopback  = "loopback of the host"
	isMetadata  = "metadata service"
	isSpecial   = "special address"
	noRule      = "no rule allows it"
)

// TestModes is what each mode makes of each kind of address, without rules.
func TestModes(t *testing.T) {
	tests := []struct {
		addrs      string
		public     string
		local, all string
	}{
		{"8.8.8.8 100.128.0.1 172.32.0.1 198.20.0.1 223.255.255.255", allowed, noRule, allowed},
		{"2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2606::5efe:808:808", allowed, noRule, allowed},
		{"127.0.0.1 127.255.0.1 ::1 ::ffff:127.0.0.1", isLoopback, allowed, allowed},
		{"64:ff9b::127.0.0.1 2002:7f00:1:: 2606::5efe:127.0.0.1 2606::200:5efe:7f00:1", isLoopback, noRule, allowed},
		{"198.41.0.4 10.9.9.9 fe80::9 ::ffff:198.41.0.4", isHost, isHost, allowed},
		{"64:ff9b::198.41.0.4", isHost, noRule, allowed},
		{"10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 ::ffff:10.0.0.1", isPrivate, isPrivate, allowed},
		{"192.0.2.1 198.51.100.1 203.0.113.1 198.18.0.1 198.19.255.255", isPrivate, isPrivate, allowed},
		{"fd00::1 fc00::1 fec0::1 2001:db8::1 3fff::1 2001::1 4000::1 200::1 64:ff9b:1::8.8.8.8", isPrivate, isPrivate, allowed},
		{"::8.8.8.8 64:ff9b:1::127.0.0.1", isPrivate, isPrivate, allowed},
		{"64:ff9b::10.0.0.1 2002:a00:1::1 2606::5efe:192.168.0.1", isPrivate, noRule, allowed},
		{"169.254.0.1 fe80::1 fe80::1%eth0 febf::1 ::ffff:169.254.0.1", isLinkLocal, isLinkLocal, allowed},
		{"169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 ::ffff:169.254.169.254", isMetadata, isMetadata, allowed},
		{"64:ff9b::169.254.169.254 2002:a9fe:a9fe::", isMetadata, noRule, allowed},
		{"0.0.0.0 0.1.2.3 192.0.0.1 192.88.99.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255", isSpecial, isSpecial, isSpecial},
		{":: ff02::1 100::1 ::ffff:0.0.0.0 ::ffff:224.0.0.1 64:ff9b::255.255.255.255 2002:e000:1:: ::0.0.0.2", isSpecial, isSpecial, isSpecial},
	}
	for _, test := range tests {
		for text := range strings.FieldsSeq(test.addrs) {
			addr := netip.MustParseAddr(text)
			for mode, want := range map[policy.Mode]string{
				policy.ModeNone: off, policy.ModePublic: test.public, policy.ModeLocal: test.local, policy.ModeAll: test.all, 99: off,
			} {
				p := newPolicy(t, mode)
				for _, protocol := range []policy.Protocol{policy.TCP, policy.UDP, policy.ICMP} {
					got := p.Check(protocol, netip.AddrPortFrom(addr, 80))
					if got.Reason != want || got.Allow != (want == allowed) {
						t.Errorf("mode %v: %v to %v is %+v, not %q", mode, protocol, addr, got, want)
					}
				}
			}
		}
	}
	if v := newPolicy(t, policy.ModeAll).Check(policy.TCP, netip.AddrPort{}); v.Allow {
		t.Error("no address at all is allowed")
	}
}

func TestRules(t *testing.T) {
	tests := []struct {
		mode   policy.Mode
		rules  string // separated by commas
		access string
		want   string
	}{
		// The first that matches decides.
		{policy.ModePublic, "deny any", "8.8.8.8:80/tcp", "rule: deny any"},
		{policy.ModePublic, "allow 8.8.8.8, deny any", "8.8.8.8:80/tcp", allowed},
		{policy.ModePublic, "deny any, allow 8.8.8.8", "8.8.8.8:80/tcp", "rule: deny any"},
		{policy.ModePublic, "deny 8.8.0.0/16", "8.8.8.8:80/tcp", "rule: deny 8.8.0.0/16"},
		{policy.ModePublic, "deny 8.8.0.0/16", "8.9.8.8:80/tcp", allowed},
		{policy.ModePublic, "deny 8.8.0.0/16", "[::ffff:8.8.8.8]:80/tcp", "rule: deny 8.8.0.0/16"},
		{policy.ModePublic, "deny 8.8.0.0/16", "[64:ff9b::808:808]:80/tcp", "rule: deny 8.8.0.0/16"},
		{policy.ModePublic, "deny 0.0.0.0/0", "[2606::1]:80/tcp", allowed},
		{policy.ModePublic, "deny ::/0", "[2606::1]:80/tcp", "rule: deny ::/0"},
		{policy.ModeAll, "deny any", "127.0.0.1:80/tcp", "rule: deny any"},
		// Ports and protocols.
		{policy.ModePublic, "deny :25", "8.8.8.8:25/tcp", "rule: deny :25"},
		{policy.ModePublic, "deny :25", "8.8.8.8:25/udp", "rule: deny :25"},
		{policy.ModePublic, "deny :25", "8.8.8.8:26/tcp", allowed},
		{policy.ModePublic, "deny :25-30/udp", "8.8.8.8:30/udp", "rule: deny :25-30/udp"},
		{policy.ModePublic, "deny :25-30/udp", "8.8.8.8:31/udp", allowed},
		{policy.ModePublic, "deny :25-30/udp", "8.8.8.8:30/tcp", allowed},
		{policy.ModePublic, "deny any/tcp", "8.8.8.8:1/tcp", "rule: deny any/tcp"},
		{policy.ModePublic, "allow 8.8.8.8:443/tcp, deny any", "8.8.8.8:443/tcp", allowed},
		{policy.ModePublic, "allow 8.8.8.8:443/tcp, deny any", "8.8.8.8:80/tcp", "rule: deny any"},
		{policy.ModePublic, "allow 8.8.8.8:443/tcp, deny any", "8.8.8.8/icmp", "rule: deny any"},
		{policy.ModePublic, "allow 8.8.8.8, deny any", "8.8.8.8/icmp", allowed},
		{policy.ModePublic, "deny any/tcp, deny any/udp", "8.8.8.8/icmp", allowed},
		{policy.ModePublic, "deny :1-65535", "8.8.8.8/icmp", allowed},
		// Prefixes open what they cover.
		{policy.ModePublic, "allow 10.0.0.0/8", "10.1.2.3:80/tcp", allowed},
		{policy.ModePublic, "allow 10.0.0.0/8", "11.1.2.3:80/tcp", allowed},
		{policy.ModePublic, "allow 10.0.0.0/8", "192.168.0.1:80/tcp", isPrivate},
		{policy.ModePublic, "allow 10.0.0.0/8", "10.9.9.9:80/tcp", allowed},
		{policy.ModePublic, "allow 10.0.0.0/8", "[64:ff9b::a00:1]:80/tcp", allowed},
		{policy.ModePublic, "allow 10.0.0.0/8", "[::a00:1]:80/tcp", isPrivate},
		{policy.ModePublic, "allow 10.0.0.0/8:80/tcp", "10.1.2.3:81/tcp", isPrivate},
		{policy.ModePublic, "allow 127.0.0.1:8080", "127.0.0.1:8080/tcp", allowed},
		{policy.ModePublic, "allow 127.0.0.1:8080", "127.0.0.1:8081/tcp", isLoopback},
		{policy.ModePublic, "allow 127.0.0.1", "127.0.0.2:80/tcp", isLoopback},
		{policy.ModePublic, "allow 169.254.169.254", "169.254.169.254:80/tcp", allowed},
		{policy.ModePublic, "allow 198.41.0.4", "198.41.0.4:80/tcp", allowed},
		{policy.ModePublic, "allow fd00::/8", "[fd12::1]:80/tcp", allowed},
		{policy.ModePublic, "allow 64:ff9b::/96", "[64:ff9b::a00:1]:80/tcp", isPrivate},
		{policy.ModePublic, "allow 64:ff9b:1::/48", "[64:ff9b:1::808:808]:80/tcp", allowed},
		{policy.ModePublic, "allow 64:ff9b:1::/48", "[64:ff9b:1::a00:1]:80/tcp", isPrivate},
		{policy.ModePublic, "allow ff00::/8", "[ff02::1]:80/udp", isSpecial},
		{policy.ModePublic, "allow 224.0.0.0/3", "224.0.0.1:80/udp", isSpecial},
		{policy.ModeLocal, "allow 10.0.0.0/8", "10.1.2.3:80/tcp", allowed},
		{policy.ModeLocal, "allow 8.8.8.8", "8.8.8.8:80/tcp", allowed},
		{policy.ModeLocal, "allow 8.8.8.8", "8.8.4.4:80/tcp", noRule},
		{policy.ModeNone, "allow 8.8.8.8", "8.8.8.8:80/tcp", off},
		// "Any" opens only what the mode could.
		{policy.ModePublic, "allow any", "127.0.0.1:80/tcp", isLoopback},
		{policy.ModePublic, "allow :80", "169.254.169.254:80/tcp", isMetadata},
		{policy.ModePublic, "allow 0.0.0.0/0", "10.0.0.1:80/tcp", isPrivate},
		{policy.ModePublic, "allow ::/0", "[::1]:80/tcp", isLoopback},
		{policy.ModePublic, "allow ::/0", "[64:ff9b::7f00:1]:80/tcp", isLoopback},
		{policy.ModePublic, "allow :443, deny any", "8.8.8.8:443/tcp", allowed},
		{policy.ModePublic, "allow :443, deny any", "127.0.0.1:443/tcp", "rule: deny any"},
		{policy.ModeLocal, "allow any", "8.8.8.8:80/tcp", allowed},
		{policy.ModeLocal, "allow any", "127.0.0.1:80/tcp", allowed},
		{policy.ModeLocal, "allow any", "10.0.0.1:80/tcp", isPrivate},
		{policy.ModeLocal, "allow any", "[64:ff9b::7f00:1]:80/tcp", noRule},
		{policy.ModeLocal, "allow any:443", "8.8.8.8:80/tcp", noRule},
		{policy.ModeAll, "allow any, deny any", "169.254.169.254:80/tcp", allowed},
		// Domains are for what DNS answered, which is nothing so far, and for fixed
		// names.
		{policy.ModePublic, "allow example.com, deny any", "8.8.8.8:80/tcp", "rule: deny any"},
		{policy.ModePublic, "deny example.com", "8.8.8.8:80/tcp", allowed},
		{policy.ModePublic, "allow host.holt.internal:80", "127.0.0.1:80/tcp", allowed},
		{policy.ModePublic, "allow host.holt.internal:80", "[::ffff:127.0.0.1]:80/tcp", allowed},
		{policy.ModePublic, "allow host.holt.internal:80", "[::1]:80/tcp", allowed},
		{policy.ModePublic, "allow host.holt.internal:80", "127.0.0.1:81/tcp", isLoopback},
		{policy.ModePublic, "allow host.holt.internal", "127.0.0.2:80/tcp", isLoopback},
		{policy.ModeAll, "deny *.holt.internal", "127.0.0.1:80/tcp", "rule: deny *.holt.internal"},
	}
	for _, test := range tests {
		p := newPolicy(t, test.mode, strings.Split(test.rules, ", ")...)
		protocol, dst := parseAccess(t, test.access)
		got := p.Check(protocol, dst)
		if got.Reason != test.want || got.Allow != (test.want == allowed) {
			t.Errorf("mode %v, %s: %s is %+v, not %q", test.mode, test.rules, test.access, got, test.want)
		}
		counted := map[string]uint64{}
		if !got.Allow {
			counted[got.Reason] = 1
		}
		if denied := p.Denied(); !maps.Equal(denied, counted) {
			t.Errorf("%s is counted as %v", test.access, denied)
		}
	}
}

func TestHostAddrsAreListedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addrs []netip.Addr
		calls := 0
		problem := errors.New("too many open files")
		p := policy.New(policy.ModePublic, nil, policy.Options{HostAddrs: func() ([]netip.Addr, error) {
			calls++
			return addrs, problem
		}})
		dst := netip.MustParseAddrPort("8.8.8.8:80")
		if v := p.Check(policy.TCP, dst); v.Reason != isHost {
			t.Errorf("what might be the host's is %+v", v)
		}
		problem, calls = nil, 0
		time.Sleep(5 * time.Second)
		for range 100 {
			if !p.Check(policy.TCP, dst).Allow {
				t.Fatal("a public address is refused")
			}
		}
		if calls != 1 {
			t.Errorf("the addresses are listed %d times", calls)
		}
		addrs = []netip.Addr{netip.MustParseAddr("::ffff:8.8.8.8")}
		time.Sleep(5 * time.Second)
		if v := p.Check(policy.TCP, dst); v.Reason != isHost {
			t.Errorf("a new address of the host is %+v", v)
		}
		addrs, problem = nil, errors.New("too many open files")
		time.Sleep(5 * time.Second)
		if v := p.Check(policy.TCP, dst); v.Reason != isHost {
			t.Errorf("when the addresses cannot be listed again, it is %+v", v)
		}
	})
}

func TestOwnInterfaces(t *testing.T) {
	// Without HostAddrs the interfaces are asked; all have the loopback at least.
	p := policy.New(policy.ModeAll, nil, policy.Options{})
	if v := p.Check(policy.TCP, netip.MustParseAddrPort("127.0.0.1:80")); !v.Allow {
		t.Errorf("%+v", v)
	}
}

func TestCheckDoesNotAllocate(t *testing.T) {
	p := newPolicy(t, policy.ModePublic, "deny 9.9.9.9", "allow *.example.com:443", "deny :25", "allow 10.0.0.0/8")
	p.Answer("www.example.com", addrsOf("8.8.8.8"), time.Hour)
	for _, dst := range []string{"8.8.8.8:443", "8.8.4.4:80", "10.0.0.1:80", "[2606::1]:80", "[64:ff9b::808:808]:80"} {
		dst := netip.MustParseAddrPort(dst)
		if n := testing.AllocsPerRun(100, func() { p.Check(policy.TCP, dst) }); n != 0 {
			t.Errorf("Check of %v allocates %v times", dst, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	rules := []string{"deny :25"}
	for i := range 50 {
		rules = append(rules, fmt.Sprintf("allow *.d%d.example:443", i))
	}
	p := newPolicy(b, policy.ModePublic, rules...)
	p.Answer("www.d49.example", addrsOf("8.8.8.8"), time.Hour)
	dst := netip.MustParseAddrPort("8.8.8.8:443")
	b.ReportAllocs()
	for b.Loop() {
		p.Check(policy.TCP, dst)
	}
}

func addrsOf(text string) (addrs []netip.Addr) {
	for s := range strings.FieldsSeq(text) {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return slices.Clip(addrs)
}
