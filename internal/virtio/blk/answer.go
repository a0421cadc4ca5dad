package blk

import "errors"

// Status bytes, 5.2.6.
const (
	statusOK          = 0
	statusIOErr       = 1
	statusUnsupported = 2
)

// What can be wrong with a request itself. Only the guest is told: it knows.
var (
	errRefused     = errors.New("the request is not within the disk or its limits")
	errUnsupported = errors.New("the request is none that the device has")
)

// answer gives the chain back, with the status that err means. Of the room for data
// the first written bytes count if there was no error.
func (r *request) answer(written int, err error) {
	status := byte(statusOK)
	switch {
	case err == nil:
		r.d.counters.count(r, written)
	case errors.Is(err, errUnsupported):
		status, written = statusUnsupported, 0
	default:
		status, written = statusIOErr, 0
		if !errors.Is(err, errRefused) {
			r.d.log.Warn("a request of the guest's was not carried out", "err", err)
		}
	}
	r.status[0] = status
	if written == size(r.in) { // the status lies right behind
		written++
	}
	r.rq.q.Push(&r.chain, written)
	r.rq.q.Signal()
}
