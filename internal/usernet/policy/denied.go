package policy

import "sync/atomic"

// Reasons for what happens to names rather than to connections.
const (
	reasonName   = "name not resolvable"
	reasonAnswer = "address withheld from an answer"
	reasonMode   = "the network is off"
)

// denials counts by reason. The reasons are known from the start, so that a guest
// cannot add any.
type denials map[string]*atomic.Uint64

func newDenials(rules []compiled) denials {
	d := make(denials)
	for _, reason := range append(reasons[:], reasonName, reasonAnswer, reasonMode) {
		d[reason] = new(atomic.Uint64)
	}
	for _, r := range rules {
		if r.deny {
			d[r.reason] = new(atomic.Uint64)
		}
	}
	return d
}

func (d denials) add(reason string) { d[reason].Add(1) }

// Denied returns how often each reason refused something; those that never did
// are left out.
func (p *Policy) Denied() map[string]uint64 {
	counts := make(map[string]uint64)
	for reason, n := range p.denied {
		if n := n.Load(); n != 0 {
			counts[reason] = n
		}
	}
	return counts
}
