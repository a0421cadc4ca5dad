package fs

import "sync/atomic"

// Counters are what has crossed a device since it was made: FUSE requests and their
// answers, headers included.
type Counters struct {
	Requests           uint64
	FromGuest, ToGuest uint64 // bytes
}

type counters struct{ requests, fromGuest, toGuest atomic.Uint64 }

func (c *counters) count(request, answer int) {
	c.requests.Add(1)
	c.fromGuest.Add(uint64(request))
	c.toGuest.Add(uint64(answer))
}

// Pending returns how many requests are being served.
func (d *Device) Pending() int { return int(d.pending.Load()) }

// Counters returns what has crossed so far.
func (d *Device) Counters() Counters {
	c := &d.counters
	return Counters{Requests: c.requests.Load(), FromGuest: c.fromGuest.Load(), ToGuest: c.toGuest.Load()}
}
