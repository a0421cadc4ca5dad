package net_test

import (
	"sync"
	"testing"
	"time"

	"github.com/holtvm/holt/internal/guestmem"
	"github.com/holtvm/holt/internal/netframe"
	"github.com/holtvm/holt/internal/virtio/queue"
	"github.com/holtvm/holt/internal/virtiotest"
)

// TestMalformedChains: a chain that no driver may make breaks its queue and leaves
// the other one alone, until the device is reset.
func TestMalformedChains(t *testing.T) {
	f := []netframe.Frame{frame(pattern(60, 0), netframe.Offload{})}
	for name, c := range map[string]struct {
		queue int
		chain func(q *virtiotest.Ring) uint16
	}{
		"no frame":           {transmitq, func(q *virtiotest.Ring) uint16 { return q.Chain(q.Readable(nil)) }},
		"half a header":      {transmitq, func(q *virtiotest.Ring) uint16 { return q.Chain(q.Readable(make([]byte, 11))) }},
		"room in a frame":    {transmitq, func(q *virtiotest.Ring) uint16 { return q.Chain(q.Readable(make([]byte, 72)), q.Writable(1)) }},
		"no room":            {receiveq, func(q *virtiotest.Ring) uint16 { return q.Chain(q.Writable(0)) }},
		"room for no header": {receiveq, func(q *virtiotest.Ring) uint16 { return q.Chain(q.Writable(11)) }},
		"a frame in room":    {receiveq, func(q *virtiotest.Ring) uint16 { return q.Chain(q.Readable([]byte("x")), q.Writable(2000)) }},
		"outside memory":     {receiveq, func(q *virtiotest.Ring) uint16 { q.SetDesc(9, 1<<40, 2000, virtiotest.DescWrite, 0); return 9 }},
		"sent from outside":  {transmitq, func(q *virtiotest.Ring) uint16 { q.SetDesc(9, 1<<40, 2000, 0, 0); return 9 }},
	} {
		d, _, w := start(t, all)
		q := d.Queue(c.queue)
		q.Offer(c.chain(q))
		q.Kick()
		if c.queue == receiveq {
			post(d, 2000)
			if n := w.receive(f); n != 0 {
				t.Errorf("%s: %d frames taken", name, n)
			}
		}
		q.WaitBroken()
		q.Kick()
		if c.queue == receiveq {
			d.Queue(transmitq).Do(make([]byte, 72), 0)
		} else if post(d, 2000); w.receive(f) != 1 {
			t.Errorf("%s: the other queue takes nothing", name)
		}
		d.Stop()
		d.Restart()
		post(d, 2000)
		if n := w.receive(f); n != 1 {
			t.Errorf("%s: %d frames taken after a reset", name, n)
		}
		d.Queue(transmitq).Do(make([]byte, 72), 0)
	}
}

// TestStopUnderFire: queues are stopped and started while both sides send, and after
// a stop nothing touches guest memory.
func TestStopUnderFire(t *testing.T) {
	dev, w := newDevice()
	w.reply = func(f netframe.Frame) { w.receive([]netframe.Frame{f}) }
	mem, err := guestmem.Map([]guestmem.Region{{Size: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var host sync.WaitGroup
	host.Go(func() {
		frames := []netframe.Frame{large(netframe.TCP4, 4000, 1000), frame(pattern(900, 0), netframe.Offload{})}
		for {
			select {
			case <-end:
				return
			default:
				w.receive(frames)
			}
		}
	})
	for begin := time.Now(); time.Since(begin) < 200*time.Millisecond; {
		dev.SetFeatures(mergeable)
		var guest sync.WaitGroup
		var queues []*queue.Queue
		for i, flags := range []uint16{virtiotest.DescWrite, 0} {
			// The rings feed themselves: every answer makes the next chain available.
			r := virtiotest.NewRing(t, mem, uint64(0x10000*(i+1)), 64)
			r.UsedAddr = r.AvailAddr
			for k := range r.Size {
				r.SetDesc(k, 0x80000, 1000, flags, 0)
			}
			r.SetAvailIdx(1)
			q, err := queue.New(mem, r.Config(false), r)
			if err != nil {
				t.Fatal(err)
			}
			queues = append(queues, q)
			dev.StartQueue(i, q)
		}
		guest.Go(func() { dev.Kick(transmitq) })
		guest.Go(func() { dev.Kick(receiveq) })
		time.Sleep(2 * time.Millisecond)
		queues[transmitq].Quiesce(guest.Wait)
		dev.StopQueue(transmitq)
		dev.StopQueue(receiveq)
		dev.Reset()
		w.mu.Lock()
		w.sent = nil
		w.mu.Unlock()
	}
	mem.Close() // what still runs would end the process
	time.Sleep(5 * time.Millisecond)
	close(end)
	host.Wait()
}
