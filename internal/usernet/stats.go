package usernet

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats is what a network did so far.
type Stats struct {
	FromGuest, ToGuest Traffic
	// Connections counts the TCP connections that were established, and Flows the
	// UDP peers and echo targets that the guest got, published ports included.
	Connections, Flows uint64
	Active             int // TCP connections now
	// Denied counts the connections, datagrams and echo requests that the policy
	// refused, by its reason.
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

// maxReasons bounds how many reasons are told apart.
const maxReasons = 64

// counters are what Stats is made of.
type counters struct {
	fromGuest, toGuest                      traffic
	connections, flows, failed              atomic.Uint64
	malformed, spoofed, ignored, queueDrops atomic.Uint64
	queries                                 atomic.Uint64
	active                                  atomic.Int64

	mu     sync.Mutex
	denied map[string]uint64
}

type traffic struct{ frames, bytes atomic.Uint64 }

func (t *traffic) add(bytes int) {
	t.frames.Add(1)
	t.bytes.Add(uint64(bytes))
}

func (t *traffic) load() Traffic { return Traffic{t.frames.Load(), t.bytes.Load()} }

func (c *counters) deny(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.denied[reason]; !known && len(c.denied) >= maxReasons {
		reason = "other"
	}
	if c.denied == nil {
		c.denied = make(map[string]uint64)
	}
	c.denied[reason]++
}

// Stats returns what the network did so far.
func (n *Network) Stats() Stats {
	c := &n.counters
	c.mu.Lock()
	denied := maps.Clone(c.denied)
	c.mu.Unlock()
	return Stats{
		FromGuest: c.fromGuest.load(), ToGuest: c.toGuest.load(),
		Connections: c.connections.Load(), Flows: c.flows.Load(), Active: int(c.active.Load()),
		Denied: denied, Failed: c.failed.Load(),
		Malformed: c.malformed.Load(), Spoofed: c.spoofed.Load(), Ignored: c.ignored.Load(),
		QueueDropped: c.queueDrops.Load(),
		DNSQueries:   c.queries.Load(),
	}
}
