package queue

// PushAll gives back chains that answer together, such as the buffers of one large
// frame: the driver sees all of them in the used ring or none. The device wrote
// written bytes in all, filling the writable part of each chain before it began the
// next. It does not interrupt: see Signal.
func (q *Queue) PushAll(chains []Chain, written int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.broken != nil {
		return
	}
	for i := range chains {
		n := min(chains[i].WritableLen(), written)
		written -= n
		slot := 4 + 8*int(q.nextUsed%q.size)
		q.used.store32(slot, uint32(chains[i].head))
		q.used.store32(slot+4, uint32(n))
		q.nextUsed++
	}
	barrier() // the entries are visible before the index that publishes them
	q.used.store16(2, q.nextUsed)
}

// Unpop takes back the latest n calls of Pop that yielded a chain, none of which was
// pushed: a queue started later finds these chains again. It belongs to the
// goroutine that pops.
func (q *Queue) Unpop(n int) { q.nextAvail -= uint16(n) }
