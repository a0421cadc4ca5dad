package dns

import (
	"net/netip"
	"slices"
	"time"

	dnsmsg "github.com/miekg/dns"
)

// maxTTL is for how many seconds a guest may cache what it is answered: a policy
// need not remember it for much longer than an hour.
const maxTTL = 59 * 60

// filter returns what the guest gets of m, the answer of an upstream to req:
// without the addresses that the policy does not keep, and without all other
// places where addresses can be. An alias that the policy denies makes the name
// unknown.
func (s *Server) filter(req *request, m *dnsmsg.Msg) *dnsmsg.Msg {
	var addrs []netip.Addr
	var ttl uint32
	for _, rr := range m.Answer {
		header := rr.Header()
		header.Ttl = min(header.Ttl, maxTTL)
		if alias := aliasOf(rr); alias != "" && !s.policy.MayFollow(alias) {
			s.log.Debug("refuse an alias", "name", req.name, "alias", alias)
			return withRcode(dnsmsg.RcodeNameError)
		}
		if addr, has := addrOf(rr); has {
			addrs = append(addrs, addr)
			ttl = max(ttl, header.Ttl)
		}
	}
	kept := make(map[netip.Addr]bool, len(addrs))
	if len(addrs) > 0 {
		for _, a := range s.policy.Answer(req.name, addrs, time.Duration(ttl)*time.Second) {
			kept[a] = true
		}
	}
	if len(kept) < len(addrs) {
		s.log.Debug("withhold addresses from an answer", "name", req.name)
	}
	out := withRcode(m.Rcode)
	for _, rr := range m.Answer {
		if addr, has := addrOf(rr); !has || kept[addr] {
			out.Answer = append(out.Answer, rr)
			dropHints(rr)
		}
	}
	for _, rr := range m.Ns {
		if _, has := addrOf(rr); !has {
			out.Ns = append(out.Ns, rr)
			dropHints(rr)
		}
	}
	return out
}

// addrOf returns the address of an address record; it is invalid if that is empty.
func addrOf(rr dnsmsg.RR) (addr netip.Addr, has bool) {
	switch rr := rr.(type) {
	case *dnsmsg.A:
		addr, _ = netip.AddrFromSlice(rr.A)
		return addr.Unmap(), true // the library may give 16 bytes
	case *dnsmsg.AAAA:
		addr, _ = netip.AddrFromSlice(rr.AAAA)
		return addr, true
	}
	return netip.Addr{}, false
}

// aliasOf returns the name that rr sends the guest on to, or "".
func aliasOf(rr dnsmsg.RR) string {
	switch rr := rr.(type) {
	case *dnsmsg.CNAME:
		return rr.Target
	case *dnsmsg.DNAME:
		return rr.Target
	case *dnsmsg.SVCB:
		return rr.Target
	case *dnsmsg.HTTPS:
		return rr.Target
	}
	return ""
}

// dropHints removes the addresses that a service record may have; clients ask for
// its target's instead (RFC 9460, 7.3).
func dropHints(rr dnsmsg.RR) {
	var svcb *dnsmsg.SVCB
	switch rr := rr.(type) {
	case *dnsmsg.SVCB:
		svcb = rr
	case *dnsmsg.HTTPS:
		svcb = &rr.SVCB
	default:
		return
	}
	svcb.Value = slices.DeleteFunc(svcb.Value, func(v dnsmsg.SVCBKeyValue) bool {
		if mandatory, ok := v.(*dnsmsg.SVCBMandatory); ok {
			mandatory.Code = slices.DeleteFunc(mandatory.Code, isHint)
			return len(mandatory.Code) == 0
		}
		return isHint(v.Key())
	})
}

func isHint(key dnsmsg.SVCBKey) bool {
	return key == dnsmsg.SVCB_IPV4HINT || key == dnsmsg.SVCB_IPV6HINT
}
