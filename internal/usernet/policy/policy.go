// Package policy decides what a guest's network reaches: a mode, ordered rules
// before it, and for rules with domains what DNS answered to this guest.
package policy

import (
	"net/netip"
	"slices"
)

// Options are what a Policy needs to know of its surroundings.
type Options struct {
	// HostAddrs returns the addresses of the host, which are no public ones
	// whatever they are. It is called at most every few seconds. After an error
	// those of before hold; without any, every address could be the host's. If nil,
	// the addresses of the host's interfaces are taken.
	HostAddrs func() ([]netip.Addr, error)
	// Names are names with fixed addresses, in the form that Check gets them. A
	// domain rule that covers one is for its addresses as if it named these.
	Names map[string][]netip.Addr
}

// Policy is what one guest may reach. Its methods may be called at the same time.
type Policy struct {
	mode    Mode
	rules   []compiled
	domains bool // some rule has a domain
	hosts   hostAddrs
	learnt  *learnt
	denied  denials
}

// compiled is a Rule made ready.
type compiled struct {
	Rule
	reason string       // of a denial
	fixed  []netip.Addr // what domain stands for in Options.Names
}

// Verdict is whether something may be reached, and if not, why.
type Verdict struct {
	Allow bool
	// Reason is a few words such as "private range" or "rule: deny any".
	Reason string
}

// New returns the policy of a guest. The first of rules that matches decides; if
// none does the mode.
func New(mode Mode, rules []Rule, opts Options) *Policy {
	if opts.HostAddrs == nil {
		opts.HostAddrs = interfaceAddrs
	}
	p := &Policy{
		mode:   mode,
		hosts:  hostAddrs{list: opts.HostAddrs},
		learnt: newLearnt(),
	}
	for _, r := range rules {
		c := compiled{Rule: r, reason: "rule: " + r.String()}
		for name, addrs := range opts.Names {
			if r.names(canonical(name)) {
				for _, a := range addrs {
					c.fixed = append(c.fixed, a.Unmap())
				}
			}
		}
		p.rules = append(p.rules, c)
		p.domains = p.domains || r.domain != ""
	}
	p.denied = newDenials(p.rules)
	return p
}

// Check decides on a connection or a flow that the guest opens to dst, and counts
// it if it is refused. The port is 0 for ICMP, for which only rules without port
// and protocol count. IPv4-mapped IPv6 addresses are taken for what they are
// mapped from, and must be dialed so.
func (p *Policy) Check(protocol Protocol, dst netip.AddrPort) Verdict {
	t := p.target(dst.Addr())
	v := p.decide(&t, func(i int) bool {
		return p.rules[i].serves(protocol, dst.Port()) && p.reaches(i, &t)
	})
	if !v.Allow {
		p.denied.add(v.Reason)
	}
	return v
}

// decide goes through the rules. applies reports whether the rule of an index is
// for what is to be decided, classes aside.
func (p *Policy) decide(t *target, applies func(rule int) bool) Verdict {
	if p.mode.opens() == nowhere {
		return Verdict{Reason: reasonMode}
	}
	if !anywhere.has(t.class) {
		return Verdict{Reason: reasons[t.class]}
	}
	for i := range p.rules {
		if r := &p.rules[i]; applies(i) {
			if r.deny {
				return Verdict{Reason: r.reason}
			}
			if p.mayOpen(r, t) {
				return Verdict{Allow: true}
			}
		}
	}
	if refused, ok := t.open(p.mode.opens()); !ok {
		return Verdict{Reason: reasons[refused]}
	}
	return Verdict{Allow: true}
}

// reaches reports whether t is a target of the rule, classes aside.
func (p *Policy) reaches(rule int, t *target) bool {
	r := &p.rules[rule]
	if r.domain != "" {
		return slices.Contains(r.fixed, t.addr) || t.answeredFor(rule)
	}
	return r.covers(t.addr) || t.via.IsValid() && r.covers(t.via)
}
