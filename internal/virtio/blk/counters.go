package blk

import "sync/atomic"

// Counters are what a device has done for its guests since it was made. Requests
// that failed are not in them.
type Counters struct {
	Reads, ReadBytes     uint64
	Writes, WrittenBytes uint64
	Flushes              uint64
	Discards             uint64 // those that write zeroes, too
}

type counters struct {
	reads, readBytes, writes, writtenBytes, flushes, discards atomic.Uint64
}

// count adds a request that was carried out. Of its room for data, read bytes were
// filled.
func (c *counters) count(r *request, read int) {
	switch r.kind {
	case typeIn:
		c.reads.Add(1)
		c.readBytes.Add(uint64(read))
	case typeOut:
		c.writes.Add(1)
		c.writtenBytes.Add(uint64(size(r.out)))
	case typeFlush:
		c.flushes.Add(1)
	case typeDiscard, typeWriteZeroes:
		c.discards.Add(1)
	}
}

// Pending returns how many requests are being served.
func (d *Device) Pending() int { return int(d.pending.Load()) }

// Counters returns what was done so far.
func (d *Device) Counters() Counters {
	c := &d.counters
	return Counters{
		Reads: c.reads.Load(), ReadBytes: c.readBytes.Load(),
		Writes: c.writes.Load(), WrittenBytes: c.writtenBytes.Load(),
		Flushes: c.flushes.Load(), Discards: c.discards.Load(),
	}
}
