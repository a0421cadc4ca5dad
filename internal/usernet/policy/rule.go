package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Rule allows or denies some targets. The zero Rule is "allow any"; others come
// from ParseRule. Rules are equal if they mean the same.
type Rule struct {
	deny bool
	// prefix is the target if valid. Of an IPv4-mapped IPv6 address it is the IPv4
	// one.
	prefix netip.Prefix
	// domain is the target if not empty: in lower case and without the dot at the
	// end.
	domain string
	// below says that the target is the names below domain instead.
	below bool
	// first and last are the ports; both are 0 for any.
	first, last uint16
	protocol    Protocol // AnyProtocol, TCP or UDP
}

// String returns "allow" or "deny" and the target; it parses to r again.
func (r Rule) String() string {
	if r.deny {
		return "deny " + r.target()
	}
	return "allow " + r.target()
}

func (r Rule) target() string {
	var b strings.Builder
	switch {
	case r.domain != "":
		if r.below {
			b.WriteString("*.")
		}
		b.WriteString(r.domain)
	case r.prefix.IsValid():
		text := r.prefix.String()
		if r.prefix.IsSingleIP() {
			text = r.prefix.Addr().String()
		}
		if r.first != 0 && r.prefix.Addr().Is6() {
			text = "[" + text + "]"
		}
		b.WriteString(text)
	case r.first == 0:
		b.WriteString("any")
	}
	if r.first != 0 {
		fmt.Fprintf(&b, ":%d", r.first)
	}
	if r.last != r.first {
		fmt.Fprintf(&b, "-%d", r.last)
	}
	if r.protocol != AnyProtocol {
		fmt.Fprintf(&b, "/%s", r.protocol)
	}
	return b.String()
}

// everything reports whether r is for any address: of one IP version at least.
// Such a rule does not open what the mode could not.
func (r *Rule) everything() bool {
	return r.domain == "" && (!r.prefix.IsValid() || r.prefix.Bits() == 0)
}

// whole reports whether r is for all that can be done with its target.
func (r *Rule) whole() bool {
	return r.first == 0 && r.protocol == AnyProtocol
}

// serves reports whether r is for protocol and port. A rule with a port or a
// protocol is not for ICMP, which has no ports.
func (r *Rule) serves(protocol Protocol, port uint16) bool {
	if r.protocol != AnyProtocol && r.protocol != protocol {
		return false
	}
	return r.first == 0 || protocol != ICMP && r.first <= port && port <= r.last
}

// covers reports whether addr, which is not IPv4-mapped, is a target of r by its
// number.
func (r *Rule) covers(addr netip.Addr) bool {
	return r.domain == "" && (!r.prefix.IsValid() || r.prefix.Contains(addr))
}
