package virtiotest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/holtvm/holt/internal/virtio"
	"github.com/holtvm/holt/internal/virtio/queue"
)

// echoFeatures are what an echo device offers.
const echoFeatures uint64 = 1<<0 | 1<<5

// echo answers every request with its own bytes. It notes the life that a
// transport gives it and fails the test where that is not what virtio.Device
// promises.
type echo struct {
	t testing.TB

	mu      sync.Mutex
	config  [16]byte
	history []string
	queues  [3]*echoQueue
}

// echoQueue is a started queue.
type echoQueue struct {
	q       *queue.Queue
	kicking bool
	flying  sync.WaitGroup // requests in flight
	hold    chan struct{}  // not nil: answers wait until it is closed
}

func newEcho(t testing.TB) *echo {
	e := &echo{t: t}
	copy(e.config[:], "echo device here")
	return e
}

// Type implements virtio.Device; no real device has this number.
func (e *echo) Type() virtio.DeviceType { return 63 }

// Features implements virtio.Device.
func (e *echo) Features() uint64 { return echoFeatures }

// QueueSizes implements virtio.Device.
func (e *echo) QueueSizes() []uint16 { return []uint16{16, 64, 256} }

// SetFeatures implements virtio.Device.
func (e *echo) SetFeatures(accepted uint64) {
	e.note("features %#x", accepted)
}

// ReadConfig implements virtio.Device.
func (e *echo) ReadConfig(off uint32, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	virtio.ReadConfigSpace(e.config[:], off, p)
}

// WriteConfig implements virtio.Device.
func (e *echo) WriteConfig(off uint32, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if off < uint32(len(e.config)) {
		copy(e.config[off:], p)
	}
}

// StartQueue implements virtio.Device.
func (e *echo) StartQueue(i int, q *queue.Queue) {
	e.note("start %d", i)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queues[i] != nil {
		e.t.Errorf("StartQueue(%d) of a running queue", i)
	}
	e.queues[i] = &echoQueue{q: q}
}

// Kick implements virtio.Device.
func (e *echo) Kick(i int) {
	e.mu.Lock()
	r := e.queues[i]
	if r == nil || r.kicking {
		e.mu.Unlock()
		e.t.Errorf("Kick(%d) of a queue that is stopped or being kicked", i)
		return
	}
	r.kicking = true
	e.mu.Unlock()
	for {
		var c queue.Chain
		ok, err := r.q.Pop(&c)
		if err != nil || !ok && !r.q.EnableKicks() {
			break
		}
		if !ok {
			continue
		}
		e.mu.Lock()
		hold := r.hold
		e.mu.Unlock()
		if hold == nil {
			answer(r.q, &c)
			continue
		}
		r.flying.Go(func() {
			<-hold
			answer(r.q, &c)
		})
		e.note("flying %d", i)
	}
	e.mu.Lock()
	r.kicking = false
	e.mu.Unlock()
}

func answer(q *queue.Queue, c *queue.Chain) {
	b := make([]byte, c.ReadableLen())
	c.Read(b, 0)
	q.Push(c, c.Write(b, 0))
	q.Signal()
}

// StopQueue implements virtio.Device.
func (e *echo) StopQueue(i int) {
	e.note("stopping %d", i)
	e.mu.Lock()
	r := e.queues[i]
	if r == nil || r.kicking {
		e.mu.Unlock()
		e.t.Errorf("StopQueue(%d) of a queue that is stopped or being kicked", i)
		return
	}
	e.mu.Unlock()
	r.flying.Wait()
	e.mu.Lock()
	e.queues[i] = nil
	e.mu.Unlock()
	e.note("stopped %d", i)
}

// Reset implements virtio.Device.
func (e *echo) Reset() {
	e.mu.Lock()
	for i, r := range e.queues {
		if r != nil {
			e.t.Errorf("Reset while queue %d runs", i)
		}
	}
	e.mu.Unlock()
	e.note("reset")
}

// holdQueue makes queue i keep every later request until release is called.
func (e *echo) holdQueue(i int) (release func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ch := make(chan struct{})
	e.queues[i].hold = ch
	return sync.OnceFunc(func() { close(ch) })
}

func (e *echo) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.history = append(e.history, fmt.Sprintf(format, args...))
}

// past returns what happened so far.
func (e *echo) past() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.history)
}

// saw reports whether something happened, and how many times.
func (e *echo) saw(what string) int {
	n := 0
	for _, h := range e.past() {
		if h == what {
			n++
		}
	}
	return n
}

// echoState is what SaveState encodes.
type echoState struct {
	Version int    `json:"version"` // 1
	Config  []byte `json:"config"`  // 16 bytes
}

// SaveState implements virtio.Device.
func (e *echo) SaveState() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, r := range e.queues {
		if r != nil {
			e.t.Errorf("SaveState while queue %d runs", i)
		}
	}
	return json.Marshal(echoState{1, e.config[:]})
}

// LoadState implements virtio.Device.
func (e *echo) LoadState(state []byte) error {
	var s echoState
	if err := json.Unmarshal(state, &s); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Version != 1 || len(s.Config) != len(e.config) {
		return fmt.Errorf("state %s", state)
	}
	for i, r := range e.queues {
		if r != nil {
			e.t.Errorf("LoadState while queue %d runs", i)
		}
	}
	copy(e.config[:], s.Config)
	return nil
}
