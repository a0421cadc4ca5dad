package mmio

import (
	"errors"
	"sync"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// mirror is a device that answers each request with its own bytes, every other
// one from a goroutine of its own. What it knows is how many requests it had.
type mirror struct {
	mu       sync.Mutex
	requests byte
	resets   int
	stray    int // calls that a stopped, or a running, queue must not get
	config   [8]byte
	queues   [2]struct {
		q      *queue.Queue
		flying sync.WaitGroup
	}
}

const mirrorFeature = 1 << 3

func (m *mirror) Type() virtio.DeviceType { return 42 }
func (m *mirror) Features() uint64        { return mirrorFeature }
func (m *mirror) SetFeatures(uint64)      {}
func (m *mirror) QueueSizes() []uint16    { return []uint16{16, 64} }

func (m *mirror) ReadConfig(off uint32, p []byte) { virtio.ReadConfigSpace(m.config[:], off, p) }
func (m *mirror) WriteConfig(off uint32, p []byte) {
	if off < uint32(len(m.config)) {
		copy(m.config[off:], p)
	}
}

func (m *mirror) StartQueue(i int, q *queue.Queue) {
	if m.queues[i].q != nil {
		m.astray()
	}
	m.queues[i].q = q
}

func (m *mirror) StopQueue(i int) {
	if m.queues[i].q == nil {
		m.astray()
	}
	m.queues[i].flying.Wait()
	m.queues[i].q = nil
}

func (m *mirror) astray() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stray++
}

func (m *mirror) Kick(i int) {
	r := &m.queues[i]
	for {
		var c queue.Chain
		ok, err := r.q.Pop(&c)
		if err != nil || !ok && !r.q.EnableKicks() {
			return
		}
		if !ok {
			continue
		}
		answer := func() {
			b := make([]byte, c.ReadableLen())
			c.Read(b, 0)
			r.q.Push(&c, c.Write(b, 0))
			r.q.Signal()
		}
		m.mu.Lock()
		m.requests++
		odd := m.requests%2 == 1
		m.mu.Unlock()
		if odd {
			r.flying.Go(answer)
		} else {
			answer()
		}
	}
}

func (m *mirror) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = 0
	m.resets++
}

func (m *mirror) SaveState() ([]byte, error) { return []byte{m.requests}, nil }

func (m *mirror) LoadState(b []byte) error {
	if len(b) != 1 {
		return errors.New("not a mirror's state")
	}
	m.requests = b[0]
	return nil
}

func (m *mirror) count() (requests byte, resets int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests, m.resets
}
