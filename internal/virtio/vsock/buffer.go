package vsock

import "github.com/holtvm/holt/internal/virtio/queue"

const (
	minBuffer  = 4 << 10  // first allocation of a connection's buffer
	keepBuffer = 64 << 10 // a drained buffer above this is given back
)

// buffer is the receive buffer of one connection: a ring that is allocated
// when data arrives and doubles up to a limit.
type buffer struct {
	b    []byte
	r, n int // where the oldest byte is, how many there are
}

// fill appends n bytes of the chain's readable part from off on, as far as the
// chain has them. The caller has checked that b.n+n is at most limit.
func (b *buffer) fill(c *queue.Chain, off, n, limit int) {
	if n == 0 {
		return
	}
	b.grow(b.n+n, limit)
	w := (b.r + b.n) % len(b.b)
	first := min(n, len(b.b)-w)
	got := c.Read(b.b[w:w+first], off)
	if got == first {
		got += c.Read(b.b[:n-first], off+first)
	}
	b.n += got
}

// grow makes the ring at least want bytes large.
func (b *buffer) grow(want, limit int) {
	if want <= len(b.b) {
		return
	}
	size := max(minBuffer, len(b.b))
	for size < want {
		size *= 2
	}
	old := *b
	b.b, b.r = make([]byte, max(want, min(size, limit))), 0
	old.read(b.b[:old.n])
}

// read moves the oldest bytes into p and returns how many there were.
func (b *buffer) read(p []byte) int {
	if b.n == 0 {
		return 0
	}
	p = p[:min(len(p), b.n)]
	n := copy(p, b.b[b.r:])
	copy(p[n:], b.b)
	b.n -= len(p)
	b.r = (b.r + len(p)) % len(b.b)
	if b.n == 0 {
		b.r = 0
		if len(b.b) > keepBuffer {
			b.b = nil
		}
	}
	return len(p)
}
