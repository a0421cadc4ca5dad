package policy_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/usernet/policy"
)

func FuzzParseRule(f *testing.F) {
	for _, text := range []string{
		"allow any", "deny :443/tcp", "allow 10.0.0.0/8:1-2/udp", "deny [fd00::/8]:443/tcp", "allow fd00::/8",
		"allow *.Example.com.:443", "deny ::ffff:10.0.0.0/104", "allow 1.2.3", "deny fe80::1%eth0", "allow any./udp",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := policy.ParseRule(text)
		if err != nil {
			if r != (policy.Rule{}) {
				t.Errorf("%q gives %q besides an error", text, r)
			}
			return
		}
		again, err := policy.ParseRule(r.String())
		if err != nil || again != r {
			t.Errorf("%q is %q, which is read as %q, %v", text, r, again, err)
		}
	})
}

// notPublic are ranges that a public network must not reach.
var notPublic = func() (prefixes []netip.Prefix) {
	for s := range strings.FieldsSeq(`0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16
		168.63.129.16/32 198.41.0.4/32 224.0.0.0/3 ::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8`) {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}()

func isInside(addr netip.Addr) bool {
	return slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// FuzzCheck tries addresses, the IPv4 addresses in them in every form that leads
// to these, and names, against rules that open nothing but public addresses.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "8.8.8.8", "169.254.169.254", "10.0.0.1", "::1", "fe80::1", "64:ff9b::1", "2606::1", "198.41.0.4"} {
		f.Add(netip.MustParseAddr(s).AsSlice(), uint16(80), uint8(1), "www.example.com")
	}
	f.Fuzz(func(t *testing.T, raw []byte, port uint16, protocol uint8, name string) {
		addr, _ := netip.AddrFromSlice(raw)
		forms := []netip.Addr{addr}
		if v4 := addr.Unmap(); v4.Is4() {
			forms = forms[:0]
			b := v4.As4()
			for _, prefix := range []string{"::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "::", "2606::5efe:0:0", "2606::200:5efe:0:0", "2002::"} {
				form := netip.MustParseAddr(prefix).As16()
				if prefix == "2002::" {
					copy(form[2:], b[:])
				} else {
					copy(form[12:], b[:])
				}
				forms = append(forms, netip.AddrFrom16(form))
			}
			forms = append(forms, v4)
			addr = v4
		}
		p := newPolicy(t, policy.ModePublic, "deny :25", "allow *.example.com:443", "allow www.example.com", "allow :80", "allow ::/0")
		p.MayResolve(name)
		p.MayFollow(name)
		kept := p.Answer(name, forms, time.Duration(port)*time.Second)
		for _, form := range forms {
			if v := p.Check(policy.Protocol(protocol), netip.AddrPortFrom(form, port)); v.Allow && isInside(addr) {
				t.Errorf("%v is open", form)
			} else if v.Allow != (v.Reason == "") {
				t.Errorf("%v: %+v", form, v)
			}
			if isInside(addr) && slices.Contains(kept, form) {
				t.Errorf("%v is kept in an answer", form)
			}
		}
	})
}
