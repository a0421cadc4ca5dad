package dns

import (
	"net"
	"net/netip"
	"strings"

	dnsmsg "github.com/miekg/dns"
)

// Domain is what the names of the host and the gateway are below. No upstream is
// asked for a name in it.
const Domain = "holt.internal"

// localTTL is for how many seconds a guest may cache a local name.
const localTTL = 60

// zone answers for names that need no upstream.
type zone struct {
	addrs map[string][]netip.Addr // by name, in lower case and without the dot at the end
	names map[string][]string     // by the name of a PTR record, in the same form
}

func newZone(local map[string][]netip.Addr) zone {
	z := zone{
		addrs: map[string][]netip.Addr{"localhost": {netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}},
		names: make(map[string][]string),
	}
	for name, addrs := range local {
		z.addrs[plain(name)] = addrs
	}
	for name, addrs := range z.addrs {
		for _, a := range addrs {
			if reverse, err := dnsmsg.ReverseAddr(a.String()); err == nil {
				reverse = plain(reverse)
				z.names[reverse] = append(z.names[reverse], name)
			}
		}
	}
	return z
}

// plain returns name in lower case and without the dot at the end.
func plain(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// answer returns the answer to req, or nil if the zone does not know it.
func (z *zone) answer(req *request) *dnsmsg.Msg {
	m := &dnsmsg.Msg{MsgHdr: dnsmsg.MsgHdr{Authoritative: true}}
	name := req.name
	if strings.HasSuffix(name, ".localhost") { // RFC 6761, 6.3
		name = "localhost"
	}
	q := req.msg.Question[0]
	header := dnsmsg.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dnsmsg.ClassINET, Ttl: localTTL}
	if addrs, found := z.addrs[name]; found {
		for _, a := range addrs {
			switch {
			case q.Qtype == dnsmsg.TypeA && a.Is4():
				m.Answer = append(m.Answer, &dnsmsg.A{Hdr: header, A: net.IP(a.AsSlice())})
			case q.Qtype == dnsmsg.TypeAAAA && a.Is6():
				m.Answer = append(m.Answer, &dnsmsg.AAAA{Hdr: header, AAAA: net.IP(a.AsSlice())})
			}
		}
		return m
	}
	if names, found := z.names[name]; found {
		for _, n := range names {
			if q.Qtype == dnsmsg.TypePTR {
				m.Answer = append(m.Answer, &dnsmsg.PTR{Hdr: header, Ptr: dnsmsg.Fqdn(n)})
			}
		}
		return m
	}
	switch {
	case name == Domain:
		return m
	case strings.HasSuffix(name, "."+Domain):
		m.Rcode = dnsmsg.RcodeNameError
		return m
	}
	return nil
}
