package queue_test

import (
	"errors"
	"testing"

	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestPushAll: chains come back in their order, filled one behind the other.
func TestPushAll(t *testing.T) {
	r, q := start(t, newMemory(t), 8, true)
	chains := make([]queue.Chain, 0, 4)
	for i := range uint16(4) {
		r.SetDesc(i, dataBase+0x100*uint64(i), 100, virtiotest.DescWrite, 0)
		r.Offer(i)
		chains = append(chains, *pop(t, q))
	}
	q.PushAll(chains[:3], 250)
	q.PushAll(chains[3:], 0)
	q.Signal()
	for i, n := range []uint32{100, 100, 50, 0} {
		if e, ok := r.Used(); !ok || e != (virtiotest.UsedElem{ID: uint32(i), Len: n}) {
			t.Errorf("entry %d is %+v, %v", i, e, ok)
		}
	}
	if _, ok := r.Used(); ok || !r.Interrupted() {
		t.Error("one more entry, or no interrupt")
	}
	q.Fail(errors.New("broken"))
	q.PushAll(chains, 400)
	if _, ok := r.Used(); ok {
		t.Error("a dead queue answers")
	}
}

// TestUnpop: chains that are taken back are there for the next queue.
func TestUnpop(t *testing.T) {
	mem := newMemory(t)
	r, q := start(t, mem, 8, true)
	for i := range uint16(3) {
		r.SetDesc(i, dataBase, uint32(100+i), virtiotest.DescWrite, 0)
		r.Offer(i)
	}
	q.Push(pop(t, q), 0)
	pop(t, q)
	pop(t, q)
	q.Unpop(2)
	cfg := r.Config(true)
	cfg.NextAvail = q.NextAvail()
	q, err := queue.New(mem, cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{101, 102} {
		if n := pop(t, q).WritableLen(); n != want {
			t.Errorf("a chain of %d bytes, want %d", n, want)
		}
	}
}
