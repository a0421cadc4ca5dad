package policy

import (
	"net/netip"
	"time"
)

// MayResolve reports whether DNS may be asked for name: whether there could be an
// address of it that the guest may reach. The first rule that can tell decides:
// an allow rule for the name, or a deny rule for it without port and protocol;
// or one for any address. If none can, names are resolvable unless the mode is
// local or none. Rules with addresses do not count: a guest that may reach these
// alone would otherwise speak to whom it likes through names that it makes up.
func (p *Policy) MayResolve(name string) bool {
	if !p.mayResolve(canonical(name)) {
		p.denied.add(reasonName)
		return false
	}
	return true
}

func (p *Policy) mayResolve(name string) bool {
	if p.mode.opens() == nowhere || !resolvable(name) {
		return false
	}
	closed4, closed6 := false, false
	for i := range p.rules {
		r := &p.rules[i]
		if !r.names(name) && !r.everything() || r.deny && !r.whole() {
			continue
		}
		if r.domain != "" {
			return !r.deny
		}
		four := !closed4 && r.covers(netip.IPv4Unspecified())
		six := !closed6 && r.covers(netip.IPv6Unspecified())
		if !r.deny && (four || six) {
			return true
		}
		closed4, closed6 = closed4 || four, closed6 || six
		if closed4 && closed6 {
			return false
		}
	}
	return p.mode != ModeLocal
}

// MayFollow reports whether an answer may lead to name as an alias: whether no
// rule denies it. That no rule allows it does not matter, since what counts is
// the name that was asked for.
func (p *Policy) MayFollow(name string) bool {
	name = canonical(name)
	for i := range p.rules {
		if r := &p.rules[i]; r.names(name) && (!r.deny || r.whole()) {
			if r.deny {
				p.denied.add(r.reason)
			}
			return !r.deny
		}
	}
	return true
}

// Answer returns those of addrs that DNS may give the guest for name, the name
// that it asked for: those that it could reach on some port. The rules for name
// are for these from now on: until ttl and Grace are over, but not for longer
// than MaxHold.
func (p *Policy) Answer(name string, addrs []netip.Addr, ttl time.Duration) (kept []netip.Addr) {
	name = canonical(name)
	var named []int
	for i := range p.rules {
		if p.rules[i].names(name) {
			named = append(named, i)
		}
	}
	for _, addr := range addrs {
		t := p.target(addr)
		if !p.couldReach(name, &t).Allow {
			p.denied.add(reasonAnswer)
			continue
		}
		kept = append(kept, addr)
		if len(named) > 0 {
			p.learnt.learn(t.addr, named, ttl)
		}
	}
	return kept
}

// couldReach decides on t if it is an address of name, for the port and the
// protocol that serve it best.
func (p *Policy) couldReach(name string, t *target) Verdict {
	return p.decide(t, func(i int) bool {
		r := &p.rules[i]
		if r.deny && !r.whole() {
			return false
		}
		return r.names(name) || p.reaches(i, t)
	})
}
