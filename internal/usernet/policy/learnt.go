package policy

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How long and how much is remembered of what DNS answered.
const (
	// MaxLearnt is the greatest number of addresses that domain rules know at a
	// time. The one that was used least recently makes room.
	MaxLearnt = 10_000
	// MaxHold is the longest time that a domain rule is for an address after an
	// answer. What the guest is told to cache should end before.
	MaxHold = time.Hour
	// Grace is how much longer than its TTL an answer holds, for the guest that
	// asks, waits and then connects.
	Grace = time.Minute
)

// learnt knows for which rules DNS gave which addresses to this guest.
type learnt struct {
	mu     sync.Mutex
	addrs  map[netip.Addr]*list.Element // of *lesson
	recent list.List                    // the most recently used first
}

// lesson is what is known of one address.
type lesson struct {
	addr  netip.Addr
	holds []hold // never changed, only replaced
}

// hold says until when an address is a target of a rule.
type hold struct {
	rule  int // its index
	until time.Time
}

func newLearnt() *learnt {
	return &learnt{addrs: make(map[netip.Addr]*list.Element)}
}

// learn notes that addr, which is not IPv4-mapped, is a target of rules for ttl.
func (l *learnt) learn(addr netip.Addr, rules []int, ttl time.Duration) {
	until := time.Now().Add(min(max(ttl, 0), MaxHold-Grace) + Grace)
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.addrs[addr]
	if e == nil {
		if len(l.addrs) == MaxLearnt {
			oldest := l.recent.Remove(l.recent.Back()).(*lesson)
			delete(l.addrs, oldest.addr)
		}
		e = l.recent.PushFront(&lesson{addr: addr})
		l.addrs[addr] = e
	}
	l.recent.MoveToFront(e)
	known := e.Value.(*lesson)
	var holds []hold
	for _, h := range known.holds {
		if i := slices.Index(rules, h.rule); i < 0 || h.until.After(until) {
			holds = append(holds, h)
		}
	}
	for _, r := range rules {
		if !slices.ContainsFunc(holds, func(h hold) bool { return h.rule == r }) {
			holds = append(holds, hold{r, until})
		}
	}
	known.holds = holds
}

// about returns what is known of addr, which is not IPv4-mapped.
func (l *learnt) about(addr netip.Addr) []hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.addrs[addr]
	if e == nil {
		return nil
	}
	l.recent.MoveToFront(e)
	return e.Value.(*lesson).holds
}
