package usernet

import (
	"sync"

	"github.com/holtvm/holt/internal/netframe"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Limits of the queue.
const (
	queueFrames = 1024    // at most this many frames
	queueBytes  = 8 << 20 // and bytes, but for the last frame
	batchFrames = 64      // handed over in one call
)

// queued is a frame on its way to the guest.
type queued struct {
	pkt     *stack.PacketBuffer // a whole frame; a reference is held
	offload netframe.Offload
	size    int // bytes
}

// queue holds frames until the guest has room. One goroutine hands them over, so
// that the guest's end is never called from within a call of its own.
type queue struct {
	mu      sync.Mutex
	ring    [queueFrames]queued
	head, n int
	bytes   int
	receive func([]netframe.Frame) int
	full    bool // the guest took less than all: only room makes another try worthwhile
	closed  bool

	wake    chan struct{} // of capacity 1
	quit    chan struct{} // closed to end the goroutine
	done    chan struct{} // closed when the goroutine has ended
	dropped func()        // is told of each frame that found the queue full
	taken   func(netframe.Frame)
}

// newQueue starts a queue. It calls dropped for each frame that it has no place
// for, and taken for each that the guest took.
func newQueue(dropped func(), taken func(netframe.Frame)) *queue {
	q := &queue{wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}), dropped: dropped, taken: taken}
	go q.run()
	return q
}

// attach sets who takes the frames. Frames for nobody are dropped.
func (q *queue) attach(receive func([]netframe.Frame) int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.receive, q.full = receive, false
	if q.n > 0 {
		q.signal()
	}
}

// add puts a frame at the end and takes the reference.
func (q *queue) add(pkt *stack.PacketBuffer, o netframe.Offload) {
	size := pkt.Size()
	q.mu.Lock()
	if q.closed || q.receive == nil || q.n == queueFrames || q.bytes >= queueBytes {
		q.mu.Unlock()
		pkt.DecRef()
		q.dropped()
		return
	}
	q.ring[(q.head+q.n)%queueFrames] = queued{pkt, o, size}
	q.n++
	q.bytes += size
	wake := q.n == 1 && !q.full
	q.mu.Unlock()
	if wake {
		q.signal()
	}
}

// room says that the guest has room again.
func (q *queue) room() {
	q.mu.Lock()
	wake := q.full && q.n > 0
	q.full = false
	q.mu.Unlock()
	if wake {
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run hands frames over until close.
func (q *queue) run() {
	defer close(q.done)
	b := batch{frames: make([]netframe.Frame, 0, batchFrames)}
	for {
		select {
		case <-q.quit:
			return
		case <-q.wake:
		}
		for q.handOver(&b) {
		}
	}
}

// batch is what is handed over in one call, kept to be used again.
type batch struct {
	frames []netframe.Frame
	parts  [][]byte
}

// handOver hands a batch over and reports whether it is worthwhile to go on.
func (q *queue) handOver(b *batch) bool {
	q.mu.Lock()
	receive := q.receive
	if q.closed || q.full || q.n == 0 || receive == nil {
		q.mu.Unlock()
		return false
	}
	b.frames, b.parts = b.frames[:0], b.parts[:0]
	for i := range min(q.n, batchFrames) {
		f := &q.ring[(q.head+i)%queueFrames]
		at := len(b.parts)
		b.parts = appendParts(b.parts, f.pkt)
		b.frames = append(b.frames, netframe.Frame{Parts: b.parts[at:len(b.parts):len(b.parts)], Offload: f.offload})
	}
	// Room may come while receive runs, which must not be lost.
	q.full = true
	q.mu.Unlock()

	taken := min(max(receive(b.frames), 0), len(b.frames))
	for _, f := range b.frames[:taken] {
		q.taken(f)
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	if taken == len(b.frames) {
		q.full = false
	}
	q.drop(taken)
	return !q.full && q.n > 0
}

// drop removes n frames from the head.
func (q *queue) drop(n int) {
	for range n {
		f := &q.ring[q.head]
		f.pkt.DecRef()
		q.bytes -= f.size
		*f = queued{}
		q.head = (q.head + 1) % queueFrames
		q.n--
	}
}

// appendParts appends the bytes of a packet with its headers.
func appendParts(parts [][]byte, pkt *stack.PacketBuffer) [][]byte {
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		parts = append(parts, b[skip:])
		skip = 0
	}
	return parts
}

// close drops what is left and ends the goroutine. Nothing is added afterwards.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	close(q.quit)
	<-q.done
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drop(q.n)
}
