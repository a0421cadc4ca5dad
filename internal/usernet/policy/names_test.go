package policy_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holtvm/holt/internal/usernet/policy"
)

func TestMayResolve(t *testing.T) {
	tests := []struct {
		mode  policy.Mode
		rules string
		yes   string
		no    string
	}{
		{policy.ModePublic, "", "example.com Example.COM. com . x", `a\.b.com`},
		{policy.ModeAll, "", "example.com", ""},
		{policy.ModeNone, "", "", "example.com ."},
		{policy.ModeLocal, "", "", "example.com ."},
		{policy.ModeLocal, "allow *.example.com", "a.example.com", "example.com"},
		{policy.ModeLocal, "allow any", "example.com", ""},
		{policy.ModeLocal, "allow :443", "example.com", ""},
		{policy.ModeLocal, "allow 10.0.0.0/8", "", "example.com"},
		{policy.ModeNone, "allow example.com", "", "example.com"},
		{policy.ModePublic, "allow example.com:443, deny any", "example.com EXAMPLE.com.", "a.example.com com . example.com.evil.org xexample.com"},
		{policy.ModePublic, "allow *.example.com/tcp, deny any", "a.example.com b.a.example.com", `example.com xexample.com a.example.com.evil.org x\.example.com .example.com`},
		{policy.ModePublic, "deny any, allow example.com", "", "example.com"},
		{policy.ModePublic, "allow 8.8.8.8, deny any", "", "example.com"},
		{policy.ModePublic, "allow 8.8.8.8", "example.com", ""},
		{policy.ModePublic, "deny 0.0.0.0/0", "example.com", ""},
		{policy.ModePublic, "deny 0.0.0.0/0, deny ::/0", "", "example.com"},
		{policy.ModePublic, "deny 0.0.0.0/0, allow 0.0.0.0/0, deny ::/0", "", "example.com"},
		{policy.ModePublic, "deny 0.0.0.0/0, allow any:443, deny any", "example.com", ""},
		{policy.ModePublic, "deny any/tcp, deny :53", "example.com", ""}, // ping is left
		{policy.ModePublic, "allow :443, deny any", "example.com", ""},
		{policy.ModePublic, "deny evil.org", "example.com a.evil.org", "evil.org EVIL.ORG."},
		{policy.ModePublic, "deny *.evil.org", "evil.org", "a.evil.org a.b.evil.org"},
		{policy.ModePublic, "deny evil.org:25", "evil.org", ""},
		{policy.ModePublic, "allow good.evil.org, deny *.evil.org", "good.evil.org", "bad.evil.org x.good.evil.org"},
		{policy.ModeAll, "deny evil.org, allow any", "example.com", "evil.org"},
		{policy.ModePublic, "", strings.Repeat("a.", 126) + "b", strings.Repeat("a.", 127) + "b"},
	}
	for _, test := range tests {
		var rules []string
		if test.rules != "" {
			rules = strings.Split(test.rules, ", ")
		}
		p := newPolicy(t, test.mode, rules...)
		for name := range strings.FieldsSeq(test.yes) {
			if !p.MayResolve(name) {
				t.Errorf("mode %v, %s: %q is refused", test.mode, test.rules, name)
			}
		}
		if denied := p.Denied(); len(denied) > 0 {
			t.Errorf("mode %v, %s: %v counted", test.mode, test.rules, denied)
		}
		for name := range strings.FieldsSeq(test.no) {
			if p.MayResolve(name) {
				t.Errorf("mode %v, %s: %q is resolvable", test.mode, test.rules, name)
			}
		}
		if n := p.Denied()["name not resolvable"]; n != uint64(len(strings.Fields(test.no))) {
			t.Errorf("mode %v, %s: %d refusals counted", test.mode, test.rules, n)
		}
	}
}

func TestMayFollow(t *testing.T) {
	p := newPolicy(t, policy.ModePublic, "allow ok.evil.org", "deny *.evil.org", "deny half.org:25", "allow example.com", "deny any")
	for name, want := range map[string]bool{
		"cdn.example.net.": true, "OK.evil.org.": true, "X.evil.org.": false, "evil.org": true, "half.org": true, ".": true, "": true,
	} {
		if got := p.MayFollow(name); got != want {
			t.Errorf("MayFollow(%q) is %v", name, got)
		}
	}
}

// TestAnswer is what is left of an answer: rebinding, above all.
func TestAnswer(t *testing.T) {
	const outside = "8.8.8.8 2606::1 64:ff9b::808:808"
	const inside = "127.0.0.1 ::1 ::ffff:127.0.0.1 169.254.169.254 169.254.1.1 10.0.0.1 198.41.0.4 fd00::1 fe80::1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: ::7f00:1"
	const never = "0.0.0.0 :: ::ffff:0.0.0.0 224.0.0.1 ff02::1 255.255.255.255"
	tests := []struct {
		mode  policy.Mode
		rules string
		keeps string
	}{
		{policy.ModePublic, "", outside},
		{policy.ModeAll, "", outside + " " + inside},
		{policy.ModeLocal, "", "127.0.0.1 ::1 ::ffff:127.0.0.1"},
		{policy.ModeNone, "allow any", ""},
		{policy.ModePublic, "allow name.example", outside},
		{policy.ModePublic, "allow name.example:443/tcp, deny any", outside},
		{policy.ModePublic, "allow other.example, deny any", ""},
		{policy.ModePublic, "allow any", outside},
		{policy.ModePublic, "allow 10.0.0.0/8:80", outside + " 10.0.0.1"},
		{policy.ModePublic, "allow 127.0.0.0/8", outside + " 127.0.0.1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"},
		{policy.ModePublic, "deny 8.8.8.8", "2606::1"},
		{policy.ModePublic, "deny 8.8.8.8:25", outside},
		{policy.ModePublic, "allow :443, deny any", outside},
		{policy.ModeLocal, "allow name.example", outside + " 127.0.0.1 ::1 ::ffff:127.0.0.1"},
		{policy.ModeAll, "allow name.example, deny any", outside + " " + inside},
		{policy.ModeAll, "deny ::/0", "8.8.8.8 127.0.0.1 ::ffff:127.0.0.1 169.254.169.254 169.254.1.1 10.0.0.1 198.41.0.4"},
	}
	for _, test := range tests {
		var rules []string
		if test.rules != "" {
			rules = strings.Split(test.rules, ", ")
		}
		p := newPolicy(t, test.mode, rules...)
		asked := addrsOf(outside + " " + inside + " " + never)
		before := slices.Clone(asked)
		kept, want := p.Answer("Name.example.", asked, time.Minute), addrsOf(test.keeps)
		slices.SortFunc(kept, netip.Addr.Compare)
		slices.SortFunc(want, netip.Addr.Compare)
		if !slices.Equal(kept, want) {
			t.Errorf("mode %v, %s: %v is kept, not %v", test.mode, test.rules, kept, want)
		}
		if !slices.Equal(asked, before) {
			t.Error("the caller's addresses are changed")
		}
		if n := p.Denied()["address withheld from an answer"]; n != uint64(len(asked)-len(want)) {
			t.Errorf("mode %v, %s: %d addresses counted as withheld", test.mode, test.rules, n)
		}
	}
}

// TestDomainRules goes by what DNS answered.
func TestDomainRules(t *testing.T) {
	p := newPolicy(t, policy.ModePublic, "deny mail.example.com:25", "allow *.example.com:443/tcp", "allow ping.example.com", "deny any")
	if kept := p.Answer("www.example.com", addrsOf("8.8.8.8"), time.Minute); len(kept) != 1 {
		t.Fatal("a public address is not kept")
	}
	p.Answer("mail.example.com", addrsOf("8.8.4.4 2606::4"), time.Minute)
	p.Answer("ping.example.com", addrsOf("8.8.2.2"), time.Minute)
	p.Answer("other.example", addrsOf("8.8.6.6"), time.Minute)
	for access, want := range map[string]string{
		"8.8.8.8:443/tcp":          allowed,
		"[::ffff:8.8.8.8]:443/tcp": allowed,
		"8.8.8.8:443/udp":          "rule: deny any",
		"8.8.8.8:80/tcp":           "rule: deny any",
		"8.8.8.8/icmp":             "rule: deny any",
		"8.8.4.4:443/tcp":          allowed,
		"8.8.4.4:25/tcp":           "rule: deny mail.example.com:25",
		"[2606::4]:443/tcp":        allowed,
		"8.8.2.2/icmp":             allowed,
		"8.8.2.2:9/udp":            allowed,
		"8.8.6.6:443/tcp":          "rule: deny any",
		"8.8.8.9:443/tcp":          "rule: deny any",
	} {
		protocol, dst := parseAccess(t, access)
		if got := p.Check(protocol, dst); got.Reason != want {
			t.Errorf("%s is %+v, not %q", access, got, want)
		}
	}
}

// TestDomainRuleOpensNoClass is DNS rebinding against a domain that is allowed.
func TestDomainRuleOpensNoClass(t *testing.T) {
	const inside = "127.0.0.1 ::1 ::ffff:127.0.0.1 169.254.169.254 10.0.0.1 198.41.0.4 fe80::1 64:ff9b::a9fe:a9fe"
	p := newPolicy(t, policy.ModePublic, "allow *.example.com")
	if kept := p.Answer("www.example.com", addrsOf(inside), time.Minute); len(kept) > 0 {
		t.Errorf("%v is kept", kept)
	}
	for _, addr := range addrsOf(inside) {
		if p.Check(policy.TCP, netip.AddrPortFrom(addr, 80)).Allow {
			t.Errorf("%v is open", addr)
		}
	}
	// The host may get an address after it was answered.
	public := netip.MustParseAddr("8.8.8.8")
	var own []netip.Addr
	synctest.Test(t, func(t *testing.T) {
		rule, err := policy.ParseRule("allow *.example.com")
		if err != nil {
			t.Fatal(err)
		}
		p := policy.New(policy.ModePublic, []policy.Rule{rule}, policy.Options{HostAddrs: func() ([]netip.Addr, error) { return own, nil }})
		p.Answer("www.example.com", []netip.Addr{public}, time.Hour)
		own = []netip.Addr{public}
		time.Sleep(time.Minute)
		if v := p.Check(policy.TCP, netip.AddrPortFrom(public, 80)); v.Reason != isHost {
			t.Errorf("what became the host's is %+v", v)
		}
	})
}

func TestAnswersExpire(t *testing.T) {
	tests := []struct{ ttl, held time.Duration }{
		{-time.Second, time.Minute},
		{0, time.Minute},
		{time.Second, 61 * time.Second},
		{10 * time.Minute, 11 * time.Minute},
		{59 * time.Minute, time.Hour},
		{1000 * time.Hour, time.Hour},
	}
	dst := netip.MustParseAddrPort("8.8.8.8:443")
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			p := newPolicy(t, policy.ModePublic, "allow example.com", "deny any")
			p.Answer("example.com", []netip.Addr{dst.Addr()}, test.ttl)
			time.Sleep(test.held - time.Nanosecond)
			if !p.Check(policy.TCP, dst).Allow {
				t.Errorf("TTL %v: refused just before %v", test.ttl, test.held)
			}
			time.Sleep(time.Nanosecond)
			if p.Check(policy.TCP, dst).Allow {
				t.Errorf("TTL %v: open after %v", test.ttl, test.held)
			}
			// A later answer holds again, and one with a shorter TTL takes nothing away.
			p.Answer("example.com", []netip.Addr{dst.Addr()}, 10*time.Minute)
			p.Answer("example.com", []netip.Addr{dst.Addr()}, 0)
			time.Sleep(10 * time.Minute)
			if !p.Check(policy.TCP, dst).Allow {
				t.Errorf("TTL %v: the second answer does not hold", test.ttl)
			}
		})
	}
}

func TestLearntIsBounded(t *testing.T) {
	p := newPolicy(t, policy.ModePublic, "allow *.example.com", "allow keep.org", "deny any")
	kept := netip.MustParseAddrPort("9.9.9.9:443")
	p.Answer("keep.org", []netip.Addr{kept.Addr()}, time.Hour)
	nth := func(i uint32) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x20000000+i) // 32.0.0.0 and on
		return netip.AddrFrom4(b)
	}
	const n = 3 * policy.MaxLearnt
	for i := range uint32(n) {
		p.Answer("a.example.com", []netip.Addr{nth(i)}, time.Hour)
		if i%1000 == 0 && !p.Check(policy.TCP, kept).Allow {
			t.Fatal("an address in use is forgotten")
		}
	}
	open := 0
	for i := range uint32(n) {
		if p.Check(policy.TCP, netip.AddrPortFrom(nth(i), 1)).Allow {
			open++
		}
	}
	if open != policy.MaxLearnt-1 {
		t.Errorf("%d addresses of %d are known", open, n)
	}
	// Names that no rule is about take no room.
	q := newPolicy(t, policy.ModePublic, "deny keep.org:25")
	q.Answer("keep.org", []netip.Addr{kept.Addr()}, time.Hour)
	for i := range uint32(n) {
		q.Answer("noise.example", []netip.Addr{nth(i)}, time.Hour)
	}
	if q.Check(policy.TCP, netip.AddrPortFrom(kept.Addr(), 25)).Allow {
		t.Error("other names make a rule forget its address")
	}
}

func TestConcurrentUse(t *testing.T) {
	p := newPolicy(t, policy.ModePublic, "allow *.example.com:443", "deny any")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			addr := netip.AddrFrom4([4]byte{8, 8, 8, byte(i)})
			for range 500 {
				p.MayResolve("a.example.com")
				p.Answer("a.example.com", []netip.Addr{addr}, time.Minute)
				if !p.Check(policy.TCP, netip.AddrPortFrom(addr, 443)).Allow {
					t.Error("what was just answered is refused")
					return
				}
				p.Check(policy.TCP, netip.AddrPortFrom(addr, 80))
				p.Denied()
			}
		})
	}
	wg.Wait()
	if n := p.Denied()["rule: deny any"]; n != 8*500 {
		t.Errorf("%d denials are counted", n)
	}
}
