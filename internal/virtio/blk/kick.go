package blk

// Kick serves a queue. A small request is served here, on the goroutine that is awake
// already, if it is not expected to wait; so is a large one while nobody is behind
// it. The others get goroutines of their own, as long as there are idle requests for
// them; then the queue waits.
func (d *Device) Kick(i int) {
	rq := &d.queues[i]
	var large *request // the last one, not yet served
	rq.q.DisableKicks()
	for {
		r := <-d.idle
		ok, err := rq.q.Pop(&r.chain)
		if ok {
			err = r.parse(rq)
		}
		if !ok || err != nil {
			d.idle <- r
		}
		switch {
		case err != nil:
			rq.q.Fail(err) // if it has not yet
			if large != nil {
				rq.spawn(large)
			}
			return
		case large != nil && ok:
			rq.spawn(large)
			large = nil
		case large != nil:
			rq.serve(large)
			large = nil
			continue
		}
		switch {
		case ok && r.large():
			large = r
		case ok:
			rq.serve(r)
		case !rq.q.EnableKicks():
			return
		default:
			rq.q.DisableKicks()
		}
	}
}

// serve serves r here if that is not expected to wait.
func (rq *requestQueue) serve(r *request) {
	if r.serve(false) {
		r.d.idle <- r
		return
	}
	rq.spawn(r)
}

// spawn serves r on a goroutine of its own.
func (rq *requestQueue) spawn(r *request) {
	rq.inFlight.Add(1)
	go r.run()
}
