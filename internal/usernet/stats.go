package usernet

import "sync/atomic"

// Stats is what a network did so far.
type Stats struct {
	FromGuest, ToGuest Traffic
	// Connections counts the TCP connections that were established, and Flows the
	// UDP peers and echo targets that the guest got, published ports included.
	Connections, Flows uint64
	Active             int // TCP connections now
	// Denied counts the connections, datagrams and echo requests that were refused,
	// by reason, and what the policy kept from answers of DNS.
	Denied map[string]uint64
	// Failed counts the connections that the host could not make, and those that
	// were too many.
	Failed uint64
	// Frames of the guest that were dropped: malformed ones, those from addresses
	// that are not the guest's, and those that nothing here deals with.
	Malformed, Spoofed, Ignored uint64
	// QueueDropped counts frames to the guest for which it had no room for long.
	QueueDropped uint64
	DNSQueries   uint64
}

// Traffic is what went one way.
type Traffic struct{ Frames, Bytes uint64 }

// counters are what Stats is made of.
type counters struct {
	fromGuest, toGuest                      traffic
	connections, flows, failed              atomic.Uint64
	malformed, spoofed, ignored, queueDrops atomic.Uint64
	queries                                 atomic.Uint64
	active                                  atomic.Int64
	noService, nobody                       atomic.Uint64 // denied for these reasons
}

type traffic struct{ frames, bytes atomic.Uint64 }

func (t *traffic) add(bytes int) {
	t.frames.Add(1)
	t.bytes.Add(uint64(bytes))
}

func (t *traffic) load() Traffic { return Traffic{t.frames.Load(), t.bytes.Load()} }

// Stats returns what the network did so far.
func (n *Network) Stats() Stats {
	c := &n.counters
	denied := n.policy.Denied()
	for reason, count := range map[string]uint64{reasonNoService: c.noService.Load(), reasonNobody: c.nobody.Load()} {
		if count > 0 {
			denied[reason] = count
		}
	}
	return Stats{
		FromGuest: c.fromGuest.load(), ToGuest: c.toGuest.load(),
		Connections: c.connections.Load(), Flows: c.flows.Load(), Active: int(c.active.Load()),
		Denied: denied, Failed: c.failed.Load(),
		Malformed: c.malformed.Load(), Spoofed: c.spoofed.Load(), Ignored: c.ignored.Load(),
		QueueDropped: c.queueDrops.Load(),
		DNSQueries:   c.queries.Load(),
	}
}
