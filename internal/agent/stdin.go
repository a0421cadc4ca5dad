package agent

import (
	"fmt"
	"sync"

	"github.com/holtvm/holt/internal/agentproto"
)

// stdinBuffer holds the standard input that the host has sent and the program
// has not yet taken: at most agentproto.StdinWindow bytes, which is also all
// that is ever granted. So put never blocks, and what comes behind the input,
// such as a signal, is never late.
type stdinBuffer struct {
	mu     sync.Mutex
	change sync.Cond

	ring    []byte // of StdinWindow bytes, made when the first byte arrives
	start   int
	size    int
	granted int  // bytes that the host may still send
	freed   int  // bytes taken and not granted again
	eof     bool // the host sent the end
	stopped bool // nobody takes any more: what arrives is thrown away
}

// newStdinBuffer returns a buffer for which nothing has been granted yet. Unless it is
// open, nothing ever is.
func newStdinBuffer(open bool) *stdinBuffer {
	b := &stdinBuffer{eof: !open}
	b.change.L = &b.mu
	return b
}

// put appends what the host sent. It fails if the host may not send that.
func (b *stdinBuffer) put(data []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.eof {
		return &agentproto.ViolationError{What: "standard input after its end"}
	}
	if len(data) > b.granted {
		return &agentproto.ViolationError{What: fmt.Sprintf("%d bytes of standard input, %d were granted", len(data), b.granted)}
	}
	b.granted -= len(data)
	if b.stopped {
		return nil
	}
	if b.ring == nil {
		b.ring = make([]byte, agentproto.StdinWindow)
	}
	end := (b.start + b.size) % len(b.ring)
	n := copy(b.ring[end:], data)
	copy(b.ring, data[n:])
	b.size += len(data)
	b.change.Signal()
	return nil
}

// end marks the end of the input. It may have come before, from a host that was
// connected then.
func (b *stdinBuffer) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.eof = true
	b.change.Signal()
}

// next waits for input and returns some of it, at most 32 KiB, valid until
// took. It returns nil at the end, and after stop.
func (b *stdinBuffer) next() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.size == 0 && !b.eof && !b.stopped {
		b.change.Wait()
	}
	if b.size == 0 || b.stopped {
		return nil
	}
	return b.ring[b.start:min(b.start+b.size, len(b.ring), b.start+32<<10)]
}

// took frees n bytes that next returned, and returns what is to be granted to
// the host now: enough to be worth a frame, or nothing.
func (b *stdinBuffer) took(n int) (grant uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return 0
	}
	b.start = (b.start + n) % len(b.ring)
	b.size -= n
	b.freed += n
	if b.eof || b.size > 0 && b.freed < agentproto.StdinWindow/4 {
		return 0
	}
	grant = uint32(b.freed)
	b.granted += b.freed
	b.freed = 0
	return grant
}

// grant returns what a host that connects now may send, and whether it may ever send
// anything. What was granted to the one before it is void.
func (b *stdinBuffer) grant() (n uint32, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.eof || b.stopped {
		return 0, false
	}
	b.granted, b.freed = agentproto.StdinWindow-b.size, 0
	return uint32(b.granted), true
}

// stop throws away what is held and what will still arrive.
func (b *stdinBuffer) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped, b.size, b.ring = true, 0, nil
	b.change.Signal()
}
