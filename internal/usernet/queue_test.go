package usernet

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/holtvm/holt/internal/netframe"
)

// taker takes a limited number of frames.
type taker struct {
	mu   sync.Mutex
	room int
	got  []byte // the first byte of each frame
}

func (k *taker) receive(frames []netframe.Frame) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(k.room, len(frames))
	for _, f := range frames[:n] {
		k.got = append(k.got, f.Parts[0][0])
	}
	k.room -= n
	return n
}

func (k *taker) give(room int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.room += room
}

func (k *taker) taken() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.got)
}

func packet(size int, first byte) *stack.PacketBuffer {
	b := make([]byte, size)
	b[0] = first
	return stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
}

func TestQueueOrder(t *testing.T) {
	var dropped atomic.Int64
	q := newQueue(func() { dropped.Add(1) }, func(netframe.Frame) {})
	defer q.close()
	q.add(packet(10, 99), netframe.Offload{}) // for nobody
	k := new(taker)
	q.attach(k.receive)
	var want []byte
	for i := range byte(200) {
		q.add(packet(10, i), netframe.Offload{})
		want = append(want, i)
	}
	for range 40 {
		k.give(5)
		q.room()
	}
	if !eventually(func() bool { return len(k.taken()) == len(want) }) || !slices.Equal(k.taken(), want) {
		t.Errorf("got %d frames: %v", len(k.taken()), k.taken())
	}
	if dropped.Load() != 1 {
		t.Errorf("%d frames are dropped", dropped.Load())
	}
}

func TestQueueLimits(t *testing.T) {
	for _, test := range []struct{ size, want int }{
		{60, queueFrames},
		{1 << 16, queueBytes >> 16},
	} {
		var dropped atomic.Int64
		q := newQueue(func() { dropped.Add(1) }, func(netframe.Frame) {})
		k := new(taker)
		q.attach(k.receive)
		for range 3000 {
			q.add(packet(test.size, 0), netframe.Offload{})
		}
		if got := 3000 - int(dropped.Load()); got != test.want {
			t.Errorf("%d frames of %d bytes wait", got, test.size)
		}
		k.give(5000)
		q.room()
		if !eventually(func() bool { return len(k.taken()) == test.want }) {
			t.Errorf("only %d of them arrive", len(k.taken()))
		}
		q.close()
		q.add(packet(10, 0), netframe.Offload{}) // is dropped
	}
}

// TestQueueRace gives room at the moment at which the guest says it has none.
func TestQueueRace(t *testing.T) {
	q := newQueue(func() {}, func(netframe.Frame) {})
	defer q.close()
	var got atomic.Int64
	refuse := true
	q.attach(func(frames []netframe.Frame) int {
		if refuse = !refuse; !refuse {
			q.room()
			return 0
		}
		got.Add(int64(len(frames)))
		return len(frames)
	})
	for range 500 {
		q.add(packet(10, 0), netframe.Offload{})
	}
	if !eventually(func() bool { return got.Load() == 500 }) {
		t.Errorf("%d frames arrive", got.Load())
	}
}
