package policy

import (
	"net/netip"
	"slices"
	"time"
)

// target is an address that is to be judged.
type target struct {
	addr  netip.Addr // neither IPv4-mapped nor with a zone
	class class
	// via is an IPv4 address that addr may lead to, or invalid. Both must be open.
	via      netip.Addr
	viaClass class
	// holds is what DNS made of addr, as of now.
	holds []hold
	now   time.Time
}

func (p *Policy) target(addr netip.Addr) target {
	t := target{addr: addr.Unmap().WithZone("")}
	t.class = p.classOf(t.addr)
	if t.via = embedded(t.addr); t.via.IsValid() {
		t.viaClass = p.classOf(t.via)
		if t.viaClass == special {
			t.class = special
		}
	}
	if p.domains {
		t.holds, t.now = p.learnt.about(t.addr), time.Now()
	}
	return t
}

func (p *Policy) classOf(addr netip.Addr) class {
	c := classify(addr)
	if c < host && p.hosts.has(addr) {
		return host
	}
	return c
}

// answeredFor reports whether DNS answered a name of the rule with t.
func (t *target) answeredFor(rule int) bool {
	return slices.ContainsFunc(t.holds, func(h hold) bool {
		return h.rule == rule && t.now.Before(h.until)
	})
}

// open reports whether a set of classes has all of t, or else a class that it
// lacks.
func (t *target) open(set classSet) (refused class, ok bool) {
	if !set.has(t.class) {
		return t.class, false
	}
	if set != anywhere {
		// The loopback that a translator leads to is not the one that is meant.
		set &= publicOnly
	}
	if t.via.IsValid() && !set.has(t.viaClass) {
		return t.viaClass, false
	}
	return 0, true
}

// mayOpen reports whether r, an allow rule that t is a target of, opens t's
// classes too.
func (p *Policy) mayOpen(r *compiled, t *target) bool {
	switch {
	case r.domain != "":
		if slices.Contains(r.fixed, t.addr) {
			return true
		}
	case !r.everything():
		// A prefix opens what it covers, but not what this leads to.
		return (r.covers(t.addr) || t.class == public) &&
			(!t.via.IsValid() || r.covers(t.via) || t.viaClass == public)
	}
	_, ok := t.open(p.mode.opens() | publicOnly)
	return ok
}
